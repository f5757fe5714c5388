-- Mails to many: what each says, to whom it goes, and what became of each of them.

CREATE TABLE product.campaigns (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL
        CONSTRAINT campaigns_name CHECK (
            length(name) BETWEEN 1 AND 200 AND name !~ '[[:cntrl:]\u0085\u2028\u2029]'
        ),
    -- Who of those that have not unsubscribed: `active` have activated their account.
    audience   text NOT NULL DEFAULT 'everyone'
        CONSTRAINT campaigns_audience CHECK (audience IN ('everyone', 'active', 'inactive')),
    -- Templates, filled in for each recipient.
    subject    text NOT NULL,
    text_body  text NOT NULL,
    html_body  text,
    -- `starting`: its job is sent, and has yet to take the audience.
    state      text NOT NULL DEFAULT 'draft'
        CONSTRAINT campaigns_state CHECK (
            state IN ('draft', 'starting', 'sending', 'paused', 'sent', 'cancelled', 'refused')
        ),
    -- Why it was refused, or paused by itself.
    error      text,
    -- The batch that recipients are handed out to; null before the first and after the last one.
    batch      uuid,
    -- The recipient who was handed out last.
    reached    bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT jobs.now(),
    started_at timestamptz,
    ended_at   timestamptz,
    CONSTRAINT campaigns_started CHECK (
        state IN ('cancelled', 'refused')
        OR (started_at IS NULL) = (state IN ('draft', 'starting'))
    ),
    CONSTRAINT campaigns_ended CHECK (
        (ended_at IS NOT NULL) = (state IN ('sent', 'cancelled', 'refused'))
    ),
    CONSTRAINT campaigns_batch CHECK (batch IS NULL OR state IN ('sending', 'paused', 'cancelled'))
);

-- Campaigns are deleted by age.
CREATE INDEX campaigns_ended ON product.campaigns (ended_at);

-- No foreign keys: they would be asked for each of a million rows, and lock as many users. Half of
-- each page is left for what becomes of the rows.
CREATE TABLE product.campaign_recipients (
    campaign_id bigint NOT NULL,
    user_id     bigint NOT NULL,
    -- `handed`: there is a job; `gone`: the user was deleted meanwhile; `rejected`: the mail server
    -- refused it for good; `unknown`: it may or may not have arrived, and is not sent again;
    -- `failed`: its job died, or was cancelled.
    state       text NOT NULL DEFAULT 'waiting'
        CONSTRAINT campaign_recipients_state CHECK (
            state IN ('waiting', 'handed', 'sent', 'unsubscribed', 'gone', 'rejected', 'unknown',
                      'failed')
        ),
    -- Why it was not sent.
    reason      text,
    batch       uuid,
    email_id    bigint,
    PRIMARY KEY (campaign_id, user_id)
) WITH (fillfactor = 50);

-- The next recipients behind one of them, at most so many, who are handed out to a batch.
--
-- Planned for any number of rows: of a campaign that has just begun the planner knows nothing, and
-- would read all of a million recipients for each hundred.
CREATE FUNCTION product.hand_out(campaign bigint, behind bigint, most integer, to_batch uuid)
    RETURNS SETOF bigint
    LANGUAGE sql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    UPDATE product.campaign_recipients
       SET state = 'handed', reason = NULL, batch = to_batch
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM product.campaign_recipients
            WHERE campaign_id = campaign AND user_id > behind AND state = 'waiting'
            ORDER BY user_id
            LIMIT most
              FOR UPDATE))
    RETURNING user_id
$$;

-- Whether more were refused than have got it, and more than a few, of the thousand up to one.
CREATE FUNCTION product.most_are_refused(campaign bigint, up_to bigint, few integer)
    RETURNS boolean
    LANGUAGE sql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    SELECT count(*) FILTER (WHERE state = 'rejected')
           > GREATEST(few, count(*) FILTER (WHERE state = 'sent'))
      FROM (SELECT state FROM product.campaign_recipients
             WHERE campaign_id = campaign AND user_id <= up_to
             ORDER BY user_id DESC
             LIMIT 1000) AS last
$$;
