-- Jobs that run by the calendar, and each time one of them was made.

CREATE TABLE jobs.recurring (
    -- Of its actor.
    name        text PRIMARY KEY,
    queue       text NOT NULL,
    kind        text NOT NULL,
    spec        text NOT NULL,
    zone        text NOT NULL,
    late        text NOT NULL,
    late_within interval NOT NULL,
    words       text NOT NULL,
    -- What each of its messages carries from its actor: tags, a unique key.
    options     jsonb NOT NULL CHECK (jsonb_typeof(options) = 'object'),
    -- The first time that nobody has dealt with. All before it were made, or left out on purpose.
    next_at     timestamptz NOT NULL,
    paused_at   timestamptz,
    declared_at timestamptz NOT NULL DEFAULT jobs.now(),
    -- When a worker or clock that has its actor said so last; they do every minute.
    seen_at     timestamptz NOT NULL DEFAULT jobs.now()
);

CREATE TABLE jobs.occurrences (
    job        text NOT NULL,
    planned    timestamptz NOT NULL,
    message_id text,
    -- The job that had its unique key, so that none was sent.
    held_by    text,
    made_by    text NOT NULL CHECK (made_by IN ('clock', 'sweeper', 'hand')),
    made_at    timestamptz NOT NULL DEFAULT jobs.now(),
    -- However many clocks fire, and whatever their hosts take for the time, one of them is first.
    CONSTRAINT occurrences_key PRIMARY KEY (job, planned),
    CONSTRAINT occurrences_sent_or_held CHECK (num_nonnulls(message_id, held_by) = 1)
);

-- Retention asks for the oldest.
CREATE INDEX occurrences_by_time ON jobs.occurrences (planned);
CREATE INDEX attempts_by_time ON jobs.attempts (ended_at);

-- Make one run of a job, unless somebody did: its row and its message commit together. Waits for a
-- transaction that is about to make the same. Returns NULL where it was made before.
CREATE FUNCTION jobs.make_run(of_job text, at timestamptz, by_whom text) RETURNS jobs.occurrences
    LANGUAGE plpgsql
AS $$
DECLARE
    id text := gen_random_uuid();
    made jobs.occurrences;
    known jobs.recurring;
    options jsonb;
    winner text;
BEGIN
    INSERT INTO jobs.occurrences AS o (job, planned, message_id, made_by)
    VALUES (of_job, at, id, by_whom)
    ON CONFLICT ON CONSTRAINT occurrences_key DO NOTHING
    RETURNING * INTO made;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO STRICT known FROM jobs.recurring WHERE name = of_job;
    options := known.options || jsonb_build_object(
        'origin', 'cron', 'planned', floor(extract(epoch FROM at) * 1000));
    -- A clock may be a moment ahead of PostgreSQL's, by which a relay sends.
    at := GREATEST(at, jobs.now());
    IF NOT options ? 'unique_key' THEN
        INSERT INTO jobs.schedule (message_id, hop, queue, actor, body, reason, due_at)
        VALUES (id, 0, known.queue, of_job,
                jobs.envelope(id, of_job, '[]', '{}', known.queue, options), 'send', at);
        RETURN made;
    END IF;
    winner := jobs.store_with_key(
        id, 0, known.queue, of_job, jobs.envelope(id, of_job, '[]', '{}', known.queue, options),
        'send', at, options ->> 'unique_key',
        (options ->> 'unique_for')::bigint * interval '1 ms',
        COALESCE(options ->> 'on_conflict' = 'replace', false),
        CASE options ->> 'on_conflict' WHEN 'reschedule' THEN
            jobs.envelope(id, of_job, '[]', '{}', known.queue, options || '{"waits_for_key": true}')
        END,
        interval '5 s');
    IF winner <> id AND options ->> 'on_conflict' IS DISTINCT FROM 'reschedule' THEN
        UPDATE jobs.occurrences AS o
           SET message_id = NULL, held_by = winner
         WHERE o.job = of_job AND o.planned = made.planned
        RETURNING * INTO made;
    END IF;
    RETURN made;
END
$$;
