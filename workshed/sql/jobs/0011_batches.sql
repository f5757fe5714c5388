-- Jobs that belong together, and what is sent once they have all come to an end, or one has died.

CREATE TABLE jobs.batches (
    id           uuid PRIMARY KEY,
    description  text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT jobs.now(),
    -- Until then more may be added by anybody, and nothing is complete; from then on by its own jobs.
    closed_at    timestamptz,
    cancelled_at timestamptz,
    -- Of its first death, of the first time that all had ended, and of the time all had succeeded.
    died_at      timestamptz,
    completed_at timestamptz,
    succeeded_at timestamptz,
    -- Written by each who asks whether it is complete, so that those wait for each other.
    asked_at     timestamptz
);

CREATE INDEX batches_by_time ON jobs.batches (created_at);
-- A relay looks for what still waits in these; there are none, nearly always.
CREATE INDEX batches_cancelling ON jobs.batches (id)
 WHERE cancelled_at IS NOT NULL AND completed_at IS NULL;

-- What is sent; stored with the batch, so that its end needs no program that has the actor.
CREATE TABLE jobs.batch_callbacks (
    batch_id   uuid NOT NULL,
    event      text NOT NULL CHECK (event IN ('success', 'complete', 'death')),
    message_id text NOT NULL,
    actor      text NOT NULL,
    -- Gone once it is sent: it may name people.
    body       text,
    sent_at    timestamptz,
    PRIMARY KEY (batch_id, event),
    CONSTRAINT batch_callbacks_sent CHECK ((body IS NULL) = (sent_at IS NOT NULL))
);

-- One row per job, and no counters: a row can be counted once only, and ends in parallel with others.
CREATE TABLE jobs.batch_jobs (
    message_id text PRIMARY KEY,
    batch_id   uuid NOT NULL,
    state      text NOT NULL DEFAULT 'pending'
               CHECK (state IN ('pending', 'succeeded', 'discarded', 'cancelled', 'dead')),
    ended_at   timestamptz,
    CONSTRAINT batch_jobs_ended CHECK ((state = 'pending') = (ended_at IS NULL))
);

-- Counts by state; and finds the next one that is pending, whatever has ended before it.
CREATE INDEX batch_jobs_by_state ON jobs.batch_jobs (batch_id, state, message_id);

-- A callback becomes a job like any other, sent now: that counts for `expires` and for rules.
CREATE FUNCTION jobs.call_back(batch uuid, why text) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    message json;
BEGIN
    SELECT c.body::json INTO message
      FROM jobs.batch_callbacks AS c
     WHERE c.batch_id = batch AND c.event = why AND c.sent_at IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE jobs.batch_callbacks AS c
       SET sent_at = jobs.now(), body = NULL
     WHERE c.batch_id = batch AND c.event = why;
    INSERT INTO jobs.schedule (message_id, hop, queue, actor, body, reason, due_at)
    VALUES (message ->> 'message_id', 0, message ->> 'queue_name', message ->> 'actor_name',
            -- Of JSON and not of JSONB, which cannot hold every text that JSON can.
            json_build_object(
                'queue_name', message -> 'queue_name',
                'actor_name', message -> 'actor_name',
                'args', message -> 'args',
                'kwargs', message -> 'kwargs',
                'options', message -> 'options',
                'message_id', message -> 'message_id',
                'message_timestamp', floor(extract(epoch FROM jobs.now()) * 1000)),
            'send', jobs.now());
END
$$;

-- Send what is due if all jobs of a batch have ended. Who asks waits for others that ask just now.
CREATE FUNCTION jobs.conclude_batch(batch uuid) RETURNS void
    LANGUAGE plpgsql
    -- Planned for any number of rows: a batch has none one minute, and a million the next.
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    known jobs.batches;
BEGIN
    UPDATE jobs.batches AS b SET asked_at = jobs.now() WHERE b.id = batch RETURNING * INTO known;
    -- Statements of their own, which see what those have written for whom the one before waited.
    IF known.closed_at IS NULL OR EXISTS (
        SELECT FROM jobs.batch_jobs AS j WHERE j.batch_id = batch AND j.state = 'pending'
    ) THEN
        RETURN;
    END IF;
    UPDATE jobs.batches AS b
       SET completed_at = COALESCE(b.completed_at, jobs.now())
     WHERE b.id = batch;
    PERFORM jobs.call_back(batch, 'complete');
    IF known.cancelled_at IS NULL AND NOT EXISTS (
        SELECT FROM jobs.batch_jobs AS j
         WHERE j.batch_id = batch AND j.state IN ('cancelled', 'dead')
    ) THEN
        UPDATE jobs.batches AS b
           SET succeeded_at = COALESCE(b.succeeded_at, jobs.now())
         WHERE b.id = batch;
        PERFORM jobs.call_back(batch, 'success');
    END IF;
END
$$;

-- End a job of a batch, in the transaction of its outcome; a second end of it changes nothing.
--
-- Whoever ends the last one must notice, though of two that end at once neither sees the other. A
-- counter would make all of them wait for its row until they have committed. Instead each leaves the
-- question to another job that is pending, whose end waits for the lock taken on it here, and so
-- sees this one. Only where all others are about to end do they ask one by one, at the batch.
CREATE FUNCTION jobs.end_batch_job(id text, how text) RETURNS boolean
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    batch uuid;
BEGIN
    UPDATE jobs.batch_jobs AS j
       SET state = how, ended_at = jobs.now()
     WHERE j.message_id = id AND j.state = 'pending'
    RETURNING j.batch_id INTO batch;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF how = 'dead' THEN
        UPDATE jobs.batches AS b SET died_at = jobs.now() WHERE b.id = batch AND b.died_at IS NULL;
        IF FOUND THEN
            PERFORM jobs.call_back(batch, 'death');
        END IF;
    END IF;
    -- The next one, so that each has another: one that all had locked could not end.
    PERFORM FROM jobs.batch_jobs AS j
      WHERE j.batch_id = batch AND j.state = 'pending' AND j.message_id > id
      ORDER BY j.message_id
      LIMIT 1
        FOR SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        PERFORM FROM jobs.batch_jobs AS j
          WHERE j.batch_id = batch AND j.state = 'pending' AND j.message_id < id
          ORDER BY j.message_id
          LIMIT 1
            FOR SHARE SKIP LOCKED;
    END IF;
    IF NOT FOUND THEN
        PERFORM jobs.conclude_batch(batch);
    END IF;
    RETURN true;
END
$$;

-- Say why a job cannot be added to a batch by `adder`, or nothing: then that stays so until the
-- caller's transaction ends, since it has locked what a batch cannot be complete without.
CREATE FUNCTION jobs.batch_refusal(batch uuid, adder text) RETURNS text
    LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    known jobs.batches;
BEGIN
    SELECT * INTO known FROM jobs.batches AS b WHERE b.id = batch;
    IF NOT FOUND THEN
        RETURN 'there is no such batch in this database, or it is not committed';
    ELSIF known.cancelled_at IS NOT NULL THEN
        RETURN 'it was cancelled';
    END IF;
    PERFORM FROM jobs.batch_jobs AS j
      WHERE j.message_id = adder AND j.batch_id = batch AND j.state = 'pending'
        FOR SHARE;
    IF FOUND THEN
        RETURN '';
    END IF;
    -- Keeps it from being closed, and nobody from asking whether it is complete.
    PERFORM FROM jobs.batches AS b WHERE b.id = batch AND b.closed_at IS NULL FOR KEY SHARE;
    IF FOUND THEN
        RETURN '';
    END IF;
    RETURN 'it is closed, and only a job of it that runs can add to it';
END
$$;

-- Close a batch; false where it was, or where there is none. One without jobs is complete then.
CREATE FUNCTION jobs.close_batch(batch uuid) RETURNS boolean
    LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM FROM jobs.batches AS b WHERE b.id = batch FOR UPDATE;  -- waits for those who add
    UPDATE jobs.batches AS b SET closed_at = jobs.now() WHERE b.id = batch AND b.closed_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM jobs.conclude_batch(batch);
    RETURN true;
END
$$;

-- Cancel a batch; false where there is none, or where all its jobs have ended. From the commit on no job of it starts, and one that
-- runs is told. The rows of those that wait are left to whoever looks for them, a few at a time.
CREATE FUNCTION jobs.cancel_batch(batch uuid) RETURNS boolean
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
BEGIN
    PERFORM FROM jobs.batches AS b WHERE b.id = batch FOR UPDATE;  -- waits for those who add
    UPDATE jobs.batches AS b
       SET cancelled_at = COALESCE(b.cancelled_at, jobs.now()),
           closed_at = COALESCE(b.closed_at, jobs.now())
     WHERE b.id = batch AND (b.completed_at IS NULL OR EXISTS (
               SELECT FROM jobs.batch_jobs AS j WHERE j.batch_id = batch AND j.state = 'pending'));
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO jobs.tombstones (message_id, reached)
    SELECT j.message_id, NOT EXISTS (
               SELECT FROM jobs.schedule AS s
                WHERE s.message_id = j.message_id
                  AND s.taken_by IS NULL AND s.sent_at IS NULL AND NOT s.again)
      FROM jobs.batch_jobs AS j
     WHERE j.batch_id = batch AND j.state = 'pending'
     ORDER BY j.message_id
    ON CONFLICT (message_id) DO UPDATE
       SET cancelled_at = jobs.now(), xid = EXCLUDED.xid,
           reached = tombstones.reached OR EXCLUDED.reached;
    PERFORM jobs.conclude_batch(batch);
    RETURN true;
END
$$;

-- As before; and a job of a batch that is replaced has ended there.
CREATE OR REPLACE FUNCTION jobs.replace_holder(holder jobs.unique_locks, replacement text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    -- First, as whoever settles does: in the other order two of them wait for each other.
    INSERT INTO jobs.settled AS s (message_id, hop) VALUES (holder.message_id, holder.hop)
    ON CONFLICT (message_id) DO UPDATE SET hop = EXCLUDED.hop, settled_at = jobs.now()
     WHERE s.hop < EXCLUDED.hop;
    IF NOT FOUND THEN
        RETURN;  -- it has come to an outcome, and has freed the key or moved on
    END IF;
    DELETE FROM jobs.starts AS s WHERE s.message_id = holder.message_id;
    DELETE FROM jobs.schedule AS s WHERE s.message_id = holder.message_id AND s.hop <= holder.hop;
    DELETE FROM jobs.unique_locks AS l
     WHERE l.message_id = holder.message_id AND l.hop <= holder.hop;
    INSERT INTO jobs.attempts (message_id, hop, attempt, queue, actor, outcome, reason)
    VALUES (holder.message_id, holder.hop, 0, holder.queue, holder.actor, 'discarded',
            'replaced by ' || replacement);
    PERFORM jobs.end_batch_job(holder.message_id, 'cancelled');
END
$$;
