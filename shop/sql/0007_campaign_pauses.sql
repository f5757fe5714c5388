-- Campaigns that pause by themselves, begin at a time, or have recipients that are named.

-- Whether its recipients were named when it was made, by a list or a query. There is at least one, so
-- that a worker of the release before, which would take everybody, meets a row that is there.
ALTER TABLE product.campaigns ADD COLUMN chosen boolean NOT NULL DEFAULT false;
-- When it is to begin; null: as soon as it is started.
ALTER TABLE product.campaigns ADD COLUMN starts_at timestamptz;
-- Of one that has paused because no mail could be sent: when it goes on, and how long that is after it
-- has paused. They stay while it is sent on: where it pauses again soon, it does so for longer.
ALTER TABLE product.campaigns ADD COLUMN resumes_at timestamptz;
ALTER TABLE product.campaigns ADD COLUMN pauses_for interval;

-- Whether more were refused for now than have got it, and more than a few, of the thousand up to one.
-- Such a recipient has a job that comes again, and the words of the server as its reason.
CREATE FUNCTION product.most_are_put_off(campaign bigint, up_to bigint, few integer)
    RETURNS boolean
    LANGUAGE sql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    SELECT count(*) FILTER (WHERE state = 'handed' AND reason IS NOT NULL)
           > GREATEST(few, count(*) FILTER (WHERE state = 'sent'))
      FROM (SELECT state, reason FROM product.campaign_recipients
             WHERE campaign_id = campaign AND user_id <= up_to
             ORDER BY user_id DESC
             LIMIT 1000) AS last
$$;
