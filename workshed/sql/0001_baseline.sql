-- What PostgreSQL stores about jobs. Everything is created inside this schema.
CREATE SCHEMA jobs;

-- Which files of each stream have been applied to this database. A checksum detects a file that was
-- edited afterwards.
CREATE TABLE jobs.migrations (
    stream     text NOT NULL,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, name)
);


-- -------------------------------------------------------------------------------------------------
-- Clocks
-- -------------------------------------------------------------------------------------------------

-- All due times are compared with this clock, and never with the clock of a sender or worker.
CREATE FUNCTION jobs.now() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN statement_timestamp();

-- Like `jobs.now()`, but advances within a statement: after waiting for a lock, the time after the
-- wait counts.
CREATE FUNCTION jobs.moment() RETURNS timestamptz
    LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN clock_timestamp();


-- -------------------------------------------------------------------------------------------------
-- The outbox: jobs that wait in PostgreSQL, and the relays that publish them
-- -------------------------------------------------------------------------------------------------

-- Every message that is not on RabbitMQ yet: delays, retries, and jobs sent inside a transaction.
CREATE TABLE jobs.schedule (
    message_id text NOT NULL,
    -- How often the message was put back on its way. Part of the key, so that the retry of a
    -- message can be stored before the relay's delete of the previous row commits.
    hop        integer NOT NULL CHECK (hop >= 0),
    queue      text NOT NULL,
    actor      text NOT NULL,
    body       text NOT NULL,
    due_at     timestamptz NOT NULL,
    reason     text NOT NULL
        CONSTRAINT schedule_reason CHECK (reason IN (
            'send',
            'delay',
            'retry',
            'snooze',
            'lease',     -- its sender publishes it, or a relay if the sender dies
            'stored',    -- RabbitMQ could not take it
            'refund',    -- interrupted by a shutdown
            'stranger',  -- no worker that received it knows its actor
            'redrive'    -- was dead, and is retried by an operator
        )),
    created_at timestamptz NOT NULL DEFAULT jobs.now(),
    -- The relay that is publishing the row.
    taken_by   uuid,
    taken_at   timestamptz,
    -- RabbitMQ may already have a copy. The next copy says so, and its consumer checks for
    -- duplicates.
    again      boolean NOT NULL DEFAULT false,
    -- Confirmed by a classic queue, whose confirm does not mean that the message is on disk: the
    -- row is kept until the outcome is stored.
    sent_at    timestamptz,
    -- When its queue was first seen without a ready message after that: the job is running, or
    -- lost.
    absent_at  timestamptz,
    CONSTRAINT schedule_key PRIMARY KEY (message_id, hop),
    CONSTRAINT schedule_taken CHECK ((taken_by IS NULL) = (taken_at IS NULL)),
    CONSTRAINT schedule_absent CHECK (absent_at IS NULL OR sent_at IS NOT NULL)
);

-- A relay reads the next due rows that no relay has claimed, in this order.
CREATE INDEX schedule_due ON jobs.schedule (due_at) WHERE taken_by IS NULL AND sent_at IS NULL;

-- Finds the rows of a relay that died. Few rows are claimed at any time.
CREATE INDEX schedule_taken_by ON jobs.schedule (taken_by) WHERE taken_by IS NOT NULL;

-- In flight on classic queues: found by queue when the queue is seen empty.
CREATE INDEX schedule_kept ON jobs.schedule (queue, sent_at) WHERE sent_at IS NOT NULL;

-- A relay without a heartbeat for 10 s is taken for dead, and its rows may be claimed by another.
CREATE TABLE jobs.relays (
    id         uuid PRIMARY KEY,
    host       text NOT NULL,
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT jobs.now(),
    beat_at    timestamptz NOT NULL DEFAULT jobs.now()
);


-- -------------------------------------------------------------------------------------------------
-- What workers have declared: queues, actors, and the workers themselves
-- -------------------------------------------------------------------------------------------------

-- The queues that workers and relays have declared.
CREATE TABLE jobs.queues (
    name        text PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('quorum', 'classic')),
    paused_at   timestamptz,
    seen_at     timestamptz NOT NULL DEFAULT jobs.now(),
    -- No message published before this waits on RabbitMQ: workers have it, or it is done.
    passed_at   timestamptz NOT NULL DEFAULT jobs.now(),
    -- When a delivery last went back to the queue. Positions of deliveries received before this no
    -- longer tell what the queue still holds.
    returned_at timestamptz
);

-- The actors that workers have declared. `jobs.send` and the console read them.
CREATE TABLE jobs.actors (
    name       text PRIMARY KEY,
    queue      text NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT jobs.now(),
    has_key    boolean NOT NULL DEFAULT false,
    -- The names of its arguments, and those whose values are secret, for showing its jobs.
    parameters text[] NOT NULL DEFAULT '{}',
    redact     text[] NOT NULL DEFAULT '{}'
);

COMMENT ON COLUMN jobs.actors.has_key IS
    'Its key is computed from its arguments, in Python: who sends by SQL has to give it.';

-- Worker processes, and how far each has worked off its queues: the age of the oldest waiting job
-- is computed from these.
CREATE TABLE jobs.workers (
    id           uuid PRIMARY KEY,
    host         text NOT NULL,
    pid          integer NOT NULL,
    threads      integer NOT NULL,
    busy         integer NOT NULL,
    release      text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT jobs.now(),
    beat_at      timestamptz NOT NULL DEFAULT jobs.now(),
    -- When it was taken for dead. RabbitMQ has requeued what it held.
    lost_at      timestamptz,
    -- The queues it consumes. The next two arrays have one value for each queue.
    queues       text[] NOT NULL,
    -- Publish time of the oldest delivery that has not started.
    waiting      timestamptz[] NOT NULL,
    -- Publish time of the oldest delivery that RabbitMQ would redeliver if this process died,
    -- including those that are running.
    held         timestamptz[] NOT NULL,
    -- Its jobs at its last heartbeat: an array of objects with message_id, actor, queue and since.
    running      jsonb NOT NULL DEFAULT '[]',
    memory_bytes bigint,
    -- When it was asked to start no more jobs.
    quiet_at     timestamptz
);


-- -------------------------------------------------------------------------------------------------
-- Idempotency: what has happened already
-- -------------------------------------------------------------------------------------------------

-- The highest hop of each message whose outcome is stored. A copy of that hop or an earlier one is
-- discarded as a duplicate.
CREATE TABLE jobs.settled (
    message_id text PRIMARY KEY,
    hop        integer NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT jobs.now()
);

-- Maintenance deletes the oldest, except those of a message that still has a row in schedule or
-- dead.
CREATE INDEX settled_by_time ON jobs.settled (settled_at);

-- Starts of redelivered jobs that have no outcome yet: shows which of them kills its worker.
CREATE TABLE jobs.starts (
    message_id text PRIMARY KEY,
    hop        integer NOT NULL,
    -- Starts as the only job of its process. Only these count, because of several jobs that ran
    -- concurrently any may have killed the process.
    alone      integer NOT NULL DEFAULT 0,
    host       text NOT NULL,
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT jobs.now()
);

-- Effects that have happened. A key commits together with the effect it stands for.
CREATE TABLE jobs.once (
    scope      text NOT NULL,
    key        text NOT NULL,
    message_id text NOT NULL,
    done_at    timestamptz NOT NULL DEFAULT jobs.now(),
    CONSTRAINT once_key PRIMARY KEY (scope, key)
);

-- Maintenance deletes the oldest.
CREATE INDEX once_by_time ON jobs.once (done_at);

-- The progress of resumable steps.
CREATE TABLE jobs.steps (
    message_id text NOT NULL,
    name       text NOT NULL
        CONSTRAINT steps_name CHECK (length(name) BETWEEN 1 AND 100),
    -- Where the step continues: null, or a value of the job. Commits together with the work it
    -- stands for.
    cursor     jsonb NOT NULL DEFAULT 'null',
    -- The run that began the step last. An earlier run, or a copy of the job, can no longer write.
    owner      uuid NOT NULL,
    done       boolean NOT NULL DEFAULT false,
    saved_at   timestamptz NOT NULL DEFAULT jobs.now(),
    PRIMARY KEY (message_id, name)
);

-- Maintenance deletes the oldest.
CREATE INDEX steps_saved ON jobs.steps (saved_at);


-- -------------------------------------------------------------------------------------------------
-- Failures: attempts and dead jobs
-- -------------------------------------------------------------------------------------------------

-- Each failed attempt and each discard, stored in the transaction of the outcome.
CREATE TABLE jobs.attempts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  text NOT NULL,
    hop         integer NOT NULL,
    attempt     integer NOT NULL,
    queue       text NOT NULL,
    actor       text NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('retried', 'discarded', 'dead')),
    reason      text NOT NULL,
    error_class text,
    error       text,
    traceback   text,
    ended_at    timestamptz NOT NULL DEFAULT jobs.now()
);

CREATE INDEX attempts_of_message ON jobs.attempts (message_id, id);

-- Maintenance deletes the oldest.
CREATE INDEX attempts_by_time ON jobs.attempts (ended_at);

-- Jobs that are not retried unless an operator asks for it, and messages that could not be read.
CREATE TABLE jobs.dead (
    message_id  text PRIMARY KEY,
    hop         integer NOT NULL,
    attempt     integer NOT NULL,
    queue       text NOT NULL,
    actor       text,
    -- As received: a message that could not be decoded need not be text.
    body        bytea NOT NULL,
    reason      text NOT NULL,
    error_class text,
    died_at     timestamptz NOT NULL DEFAULT jobs.now(),
    -- Where its program failed, `file.py:12 in function`. Part of what makes a group of dead jobs.
    place       text,
    -- The release of the worker in which it died.
    release     text
);

CREATE INDEX dead_by_time ON jobs.dead (died_at);

-- Counts groups without reading the bodies, which are a hundred times as large.
CREATE INDEX dead_by_group ON jobs.dead (error_class, actor, place, died_at) INCLUDE (queue);


-- -------------------------------------------------------------------------------------------------
-- Cancellation
-- -------------------------------------------------------------------------------------------------

-- Cancelled messages. A copy that is on its way, or returns to its queue, is skipped when it
-- starts.
CREATE TABLE jobs.tombstones (
    message_id   text PRIMARY KEY,
    cancelled_at timestamptz NOT NULL DEFAULT jobs.now(),
    -- False if the message never reached RabbitMQ: then no worker has to keep its id in memory.
    reached      boolean NOT NULL,
    -- Ids are assigned before they commit. A reader that remembers the xmin of its snapshot misses
    -- none.
    xid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- When a worker that was running the job told it.
    told_at      timestamptz
);

-- A worker reads those that are new since its last look, among those it may receive.
CREATE INDEX tombstones_by_xid ON jobs.tombstones (xid) WHERE reached;

-- Maintenance deletes the oldest.
CREATE INDEX tombstones_by_time ON jobs.tombstones (cancelled_at);

-- Cancels jobs that only RabbitMQ holds: every job that matches and was sent before `sent_before`,
-- unless an operator retried it since.
CREATE TABLE jobs.cancel_rules (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor       text,
    queue       text,
    tag         text,
    -- Whole milliseconds, the unit of a message's timestamp, so that SQL and Python compare alike.
    sent_before timestamptz NOT NULL CHECK (sent_before = date_trunc('milliseconds', sent_before)),
    made_at     timestamptz NOT NULL DEFAULT jobs.now(),
    CONSTRAINT cancel_rules_say_which CHECK (num_nonnulls(actor, queue, tag) > 0)
);

-- Return whether a message was cancelled, before it is put back on its way. Waits for a transaction
-- that is cancelling it and cannot see the row that follows: otherwise that row, with its lock,
-- would stay until it is due. Volatile, so that the second statement sees what the first waited
-- for.
CREATE FUNCTION jobs.was_cancelled(id text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(id, 6));
    RETURN EXISTS (SELECT FROM jobs.tombstones WHERE message_id = id);
END
$$;

-- Return the rule that cancels a job, or NULL.
CREATE FUNCTION jobs.cancelling_rule(actor text, queue text, tags text[], sent_ms bigint)
    RETURNS bigint LANGUAGE sql STABLE
    RETURN (
        SELECT min(r.id)
          FROM jobs.cancel_rules AS r
         WHERE (r.actor IS NULL OR r.actor = cancelling_rule.actor)
           AND (r.queue IS NULL OR r.queue = cancelling_rule.queue)
           AND (r.tag IS NULL OR r.tag = ANY (tags))
           AND r.sent_before > to_timestamp(sent_ms / 1000.0));


-- -------------------------------------------------------------------------------------------------
-- Batches: jobs that belong together, and the jobs sent when they end
-- -------------------------------------------------------------------------------------------------

CREATE TABLE jobs.batches (
    id           uuid PRIMARY KEY,
    description  text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT jobs.now(),
    -- Before this, any sender may add jobs and the batch is not complete. After it, only its own
    -- jobs may.
    closed_at    timestamptz,
    cancelled_at timestamptz,
    -- Its first death, the first time that all jobs had ended, and when all had succeeded.
    died_at      timestamptz,
    completed_at timestamptz,
    succeeded_at timestamptz,
    -- Written by each transaction that checks whether the batch is complete, so that they wait for
    -- each other.
    asked_at     timestamptz
);

CREATE INDEX batches_by_time ON jobs.batches (created_at);

-- A relay looks here for jobs that still wait. Almost always there are none.
CREATE INDEX batches_cancelling ON jobs.batches (id)
 WHERE cancelled_at IS NOT NULL AND completed_at IS NULL;

-- Maintenance deletes those that ended long ago.
CREATE INDEX batches_by_completion ON jobs.batches (completed_at) WHERE completed_at IS NOT NULL;

-- The jobs a batch sends. Stored with the batch, so that it can end without a program that has the
-- actor.
CREATE TABLE jobs.batch_callbacks (
    batch_id   uuid NOT NULL,
    event      text NOT NULL CHECK (event IN ('success', 'complete', 'death')),
    message_id text NOT NULL,
    actor      text NOT NULL,
    -- NULL once it is sent, because it may contain personal data.
    body       text,
    sent_at    timestamptz,
    PRIMARY KEY (batch_id, event),
    CONSTRAINT batch_callbacks_sent CHECK ((body IS NULL) = (sent_at IS NOT NULL))
);

-- One row per job instead of counters: a row cannot be counted twice, and jobs end in parallel.
CREATE TABLE jobs.batch_jobs (
    message_id text PRIMARY KEY,
    batch_id   uuid NOT NULL,
    state      text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'succeeded', 'discarded', 'cancelled', 'dead')),
    ended_at   timestamptz,
    CONSTRAINT batch_jobs_ended CHECK ((state = 'pending') = (ended_at IS NULL))
);

-- Counts by state, and finds the next pending job without reading those that have ended.
CREATE INDEX batch_jobs_by_state ON jobs.batch_jobs (batch_id, state, message_id);

-- Send a callback now, as a job like any other: `expires` and cancellation rules count from now.
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

-- Send the callbacks that are due if all jobs of a batch have ended. Waits for others that check.
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

-- End a job of a batch, in the transaction of its outcome. A second call changes nothing.
--
-- The last job to end must notice that it is the last, although two that end at once cannot see
-- each other. A counter would make all of them wait for one row. Instead each job locks another
-- pending job, whose end waits for that lock and therefore sees this one. Only if all other jobs
-- are ending right now do they check one after the other, at the row of the batch.
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

-- Return why `adder` cannot add a job to a batch, or ''. Then that holds until the caller's
-- transaction ends, because it has locked a row without which the batch cannot complete.
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

-- Close a batch; false if it was closed, or does not exist. A batch without jobs is complete then.
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

-- Cancel a batch; false if it does not exist, or all its jobs have ended. From the commit on no job
-- of it starts, and running ones are told. A relay deletes the rows of waiting jobs, a few at a
-- time.
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


-- -------------------------------------------------------------------------------------------------
-- Unique keys and run locks
-- -------------------------------------------------------------------------------------------------

-- At most one job per key that has not ended, however it is sent. A hop of a message holds the key,
-- so that a copy of an earlier hop cannot release it.
CREATE TABLE jobs.unique_locks (
    key        text PRIMARY KEY,
    message_id text NOT NULL,
    hop        integer NOT NULL,
    actor      text NOT NULL,
    queue      text NOT NULL,
    held_at    timestamptz NOT NULL DEFAULT jobs.now(),
    expires_at timestamptz
);

CREATE INDEX unique_locks_of_message ON jobs.unique_locks (message_id);

-- At most one running job per key. A lease, renewed by the process that runs the job.
CREATE TABLE jobs.run_locks (
    key        text PRIMARY KEY,
    -- New with each start: a process that was stopped for longer than its lease finds another
    -- token.
    token      uuid NOT NULL,
    message_id text NOT NULL,
    hop        integer NOT NULL,
    actor      text NOT NULL,
    queue      text NOT NULL,
    host       text NOT NULL,
    pid        integer NOT NULL,
    held_at    timestamptz NOT NULL DEFAULT jobs.now(),
    expires_at timestamptz NOT NULL
);

-- End the job that holds a key, so that another can have it: a worker that runs it, or receives it
-- later, finds its outcome stored.
CREATE FUNCTION jobs.replace_holder(holder jobs.unique_locks, replacement text) RETURNS void
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

-- Acquire a key unless another message holds it; return the id of its holder. Takes over an expired
-- lock, and with `replacing` the lock of a job that has ended or is ended here. Waits for a
-- transaction that is about to acquire or release the key.
CREATE FUNCTION jobs.take_key(
    wanted text, id text, at_hop integer, of_actor text, on_queue text, span interval, replacing boolean
) RETURNS text
    LANGUAGE plpgsql
AS $$
DECLARE
    holder jobs.unique_locks;
BEGIN
    LOOP
        INSERT INTO jobs.unique_locks AS l (key, message_id, hop, actor, queue, expires_at)
        VALUES (wanted, id, at_hop, of_actor, on_queue, jobs.now() + span)
        ON CONFLICT ON CONSTRAINT unique_locks_pkey DO UPDATE
           SET message_id = EXCLUDED.message_id, hop = EXCLUDED.hop, actor = EXCLUDED.actor,
               queue = EXCLUDED.queue, held_at = jobs.now(), expires_at = EXCLUDED.expires_at
         WHERE l.expires_at <= jobs.now() OR l.message_id = EXCLUDED.message_id;
        IF FOUND THEN
            RETURN id;
        END IF;
        SELECT * INTO holder FROM jobs.unique_locks AS l WHERE l.key = wanted;
        CONTINUE WHEN NOT FOUND;  -- freed in between
        IF NOT replacing THEN
            RETURN holder.message_id;
        END IF;
        PERFORM jobs.replace_holder(holder, id);
        -- Of a job that has ended or moved on meanwhile nothing else is left to end.
        DELETE FROM jobs.unique_locks AS l
         WHERE l.key = wanted AND l.message_id = holder.message_id AND l.hop = holder.hop;
    END LOOP;
END
$$;


-- -------------------------------------------------------------------------------------------------
-- Concurrency and rate limits
-- -------------------------------------------------------------------------------------------------

-- One row per key, locked by every transaction that takes a slot, returns one, or waits for one. A
-- transaction that needs several locks them in the order in which Python sorts their keys.
CREATE TABLE jobs.limits (
    key        text PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('concurrent', 'window', 'bucket')),
    -- How many at a time; within a window; at once from a full bucket.
    size       integer NOT NULL CHECK (size > 0),
    -- The window, or the time in which a bucket gains one start.
    span       interval,
    -- The number of starts so far, for a window.
    starts     bigint NOT NULL DEFAULT 0,
    -- The rank of the job that started last, for limits with shares.
    rank       bigint NOT NULL DEFAULT 0,
    -- From then on the limit is idle: the last start has left the window, or the bucket is full.
    busy_until timestamptz NOT NULL DEFAULT jobs.now(),
    CONSTRAINT limits_span CHECK ((kind = 'concurrent') = (span IS NULL))
) WITH (fillfactor = 70);  -- updated with each start, which then stays in its page

-- The running jobs of concurrency limits. Leases, renewed by the process that runs the job.
CREATE TABLE jobs.limit_slots (
    -- New with each start, and the same for all limits of that start.
    token      uuid NOT NULL,
    key        text NOT NULL,
    share      text NOT NULL,
    message_id text NOT NULL,
    actor      text NOT NULL,
    host       text NOT NULL,
    pid        integer NOT NULL,
    taken_at   timestamptz NOT NULL DEFAULT jobs.now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT limit_slots_key PRIMARY KEY (token, key)
);

CREATE INDEX limit_slots_of_key ON jobs.limit_slots (key, share);

-- The latest starts of a window, at most as many as fit into it.
CREATE TABLE jobs.limit_starts (
    key    text NOT NULL,
    number bigint NOT NULL,
    at     timestamptz NOT NULL,
    CONSTRAINT limit_starts_key PRIMARY KEY (key, number)
);

CREATE SEQUENCE jobs.limit_tickets;

-- Jobs that were over a limit. Each has a row in schedule, or is on its way. A job waits for one of
-- its limits at a time, the one that frees last; all are checked when it comes.
CREATE TABLE jobs.limit_waits (
    message_id text PRIMARY KEY,
    hop        integer NOT NULL,
    key        text NOT NULL,
    share      text NOT NULL,
    -- Order of arrival. Kept until the job starts, whichever limit it waits for.
    ticket     bigint NOT NULL,
    -- Order of start: the ticket, or with shares how many of its share start before it, so that
    -- shares take turns.
    rank       bigint NOT NULL,
    -- When a slot is offered to it, which is kept for it a little longer. NULL if none is in sight.
    called_at  timestamptz,
    since      timestamptz NOT NULL DEFAULT jobs.now()
);

CREATE INDEX limit_waits_in_order ON jobs.limit_waits (key, rank, ticket);

-- A transaction that returns a slot looks for the first job of each share without an offer.
CREATE INDEX limit_waits_uncalled ON jobs.limit_waits (key, share, ticket) WHERE called_at IS NULL;

-- Lock the row of a limit, and make it what this release declares. Lock several in their one order.
CREATE FUNCTION jobs.lock_limit(
    of_key text, of_kind text, of_size integer, of_span interval
) RETURNS jobs.limits
    LANGUAGE plpgsql
AS $$
DECLARE
    l jobs.limits;
BEGIN
    SELECT * INTO l FROM jobs.limits AS o WHERE o.key = of_key FOR UPDATE;
    IF NOT FOUND OR (l.kind, l.size, l.span) IS DISTINCT FROM (of_kind, of_size, of_span) THEN
        INSERT INTO jobs.limits AS o (key, kind, size, span) VALUES (of_key, of_kind, of_size, of_span)
        ON CONFLICT (key) DO UPDATE
           SET kind = EXCLUDED.kind, size = EXCLUDED.size, span = EXCLUDED.span
        RETURNING * INTO l;
    END IF;
    RETURN l;
END
$$;

-- Return the earliest time at which a job with `ahead` jobs before it may start: `at` is now,
-- 'infinity' is when a running job ends. Times in the future come from a clock that was set back
-- since.
CREATE FUNCTION jobs.limit_opens(l jobs.limits, ahead bigint, at timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql
AS $$
DECLARE
    first timestamptz;
BEGIN
    IF l.kind = 'concurrent' THEN
        IF ahead + (SELECT count(*) FROM jobs.limit_slots AS s
                     WHERE s.key = l.key AND s.expires_at > at) < l.size THEN
            RETURN at;
        END IF;
        RETURN 'infinity';
    ELSIF l.kind = 'bucket' THEN
        first := LEAST(GREATEST(l.busy_until, at), at + l.size * l.span);
        RETURN GREATEST(at, first + (ahead + 1 - l.size) * l.span);
    END IF;
    -- Each start opens a place again when it has left the window; those before take the first ones.
    SELECT s.at INTO first FROM jobs.limit_starts AS s
     WHERE s.key = l.key AND s.number = l.starts - l.size + 1 + ahead % l.size;
    IF first IS NOT NULL THEN  -- else it was not full so far
        at := GREATEST(at, LEAST(first, at) + l.span);
    END IF;
    RETURN at + (ahead / l.size) * l.span;
END
$$;

-- Return how many jobs wait before a rank and ticket, among those whose slot is kept for them.
-- Counts up to `most`.
CREATE FUNCTION jobs.limit_ahead(
    of_key text, of_rank bigint, of_ticket bigint, at timestamptz, kept interval, most integer
) RETURNS bigint
    LANGUAGE sql
BEGIN ATOMIC
    SELECT count(*)
      FROM (SELECT FROM jobs.limit_waits AS w
             WHERE w.key = of_key AND (w.rank, w.ticket) < (of_rank, of_ticket)
               AND (w.called_at IS NULL OR w.called_at > at - kept)
             LIMIT most) AS before;
END;

-- Return the rank of a job that arrives at a limit now. Without shares it is the order of arrival.
-- With shares it is one more than the last job of its share, or than the job that started last if
-- its share is not waiting: shares take turns, so that no share gets more by sending more.
CREATE FUNCTION jobs.limit_rank(l jobs.limits, of_share text, of_ticket bigint) RETURNS bigint
    LANGUAGE sql
BEGIN ATOMIC
    SELECT CASE of_share WHEN '' THEN of_ticket ELSE 1 + GREATEST(l.rank, (
               SELECT max(w.rank) FROM jobs.limit_waits AS w
                WHERE w.key = l.key AND w.share = of_share)) END;
END;

-- Return the job to start next when a slot of a concurrency limit is free: the first job of the
-- share that has the fewest slots. A share that is alone gets all of them, and several get the same
-- number each.
CREATE FUNCTION jobs.limit_next(of_key text, at timestamptz, kept interval) RETURNS jobs.limit_waits
    LANGUAGE sql
BEGIN ATOMIC
    WITH RECURSIVE shares (share) AS (
        (SELECT w.share FROM jobs.limit_waits AS w
          WHERE w.key = of_key AND w.called_at IS NULL ORDER BY w.share LIMIT 1)
        UNION ALL
        SELECT (SELECT w.share FROM jobs.limit_waits AS w
                 WHERE w.key = of_key AND w.called_at IS NULL AND w.share > s.share
                 ORDER BY w.share LIMIT 1)
          FROM shares AS s
         WHERE s.share IS NOT NULL
    )
    SELECT first.*
      FROM shares AS s
     CROSS JOIN LATERAL (
           SELECT w.* FROM jobs.limit_waits AS w
            WHERE w.key = of_key AND w.called_at IS NULL AND w.share = s.share
            ORDER BY w.ticket LIMIT 1) AS first
     ORDER BY (SELECT count(*) FROM jobs.limit_slots AS o
                WHERE o.key = of_key AND o.share = s.share AND o.expires_at > at)
            + (SELECT count(*) FROM jobs.limit_waits AS c
                WHERE c.key = of_key AND c.share = s.share AND c.called_at > at - kept),
              first.ticket
     LIMIT 1;
END;

-- Offer the free slots of a limit to the waiting jobs, in their order: their rows become due.
-- Returns how many, at most 100 at a time. Called by every transaction that frees a slot, and by
-- relays for what only time changes: expired leases, offers not taken, jobs cancelled while they
-- waited.
CREATE FUNCTION jobs.call_waiting(of_key text, kept interval) RETURNS integer
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    l jobs.limits;
    w jobs.limit_waits;
    at timestamptz;
    opens timestamptz;
    ahead bigint;
    called integer := 0;
    last_rank bigint := -1;
    last_ticket bigint := -1;
BEGIN
    SELECT * INTO l FROM jobs.limits WHERE key = of_key FOR UPDATE;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM jobs.limit_waits AS c WHERE c.key = of_key) THEN
        RETURN 0;
    END IF;
    at := jobs.moment();
    SELECT count(*) INTO ahead FROM jobs.limit_waits AS c
     WHERE c.key = of_key AND c.called_at > at - kept AND c.called_at <= at;
    WHILE called < 100 LOOP
        opens := jobs.limit_opens(l, ahead, at);
        EXIT WHEN opens = 'infinity';
        IF l.kind = 'concurrent' THEN
            SELECT * INTO w FROM jobs.limit_next(of_key, at, kept) AS n WHERE n.message_id IS NOT NULL;
        ELSE
            SELECT * INTO w FROM jobs.limit_waits AS n
             WHERE n.key = of_key AND (n.called_at > at) IS NOT FALSE
               AND (n.rank, n.ticket) > (last_rank, last_ticket)
             ORDER BY n.rank, n.ticket
             LIMIT 1;
            last_rank := w.rank;
            last_ticket := w.ticket;
        END IF;
        EXIT WHEN NOT FOUND;
        IF EXISTS (SELECT FROM jobs.settled AS s WHERE s.message_id = w.message_id AND s.hop >= w.hop) THEN
            DELETE FROM jobs.limit_waits AS g WHERE g.message_id = w.message_id;  -- it was cancelled
            CONTINUE;
        END IF;
        EXIT WHEN w.called_at <= opens;
        UPDATE jobs.limit_waits AS g
           SET called_at = opens, rank = CASE l.kind WHEN 'concurrent' THEN 0 ELSE g.rank END
         WHERE g.message_id = w.message_id;
        -- One that is not there is on its way already: somebody let it run now.
        UPDATE jobs.schedule AS s
           SET due_at = opens
         WHERE s.message_id = w.message_id AND s.hop = w.hop
           AND s.taken_by IS NULL AND s.sent_at IS NULL AND s.due_at > opens;
        ahead := ahead + 1;
        called := called + 1;
    END LOOP;
    RETURN called;
END
$$;

-- Take a slot of each limit for one start of a job, or of none. Returns a limit that has no slot
-- now, or NULL if all were taken. These tables are empty one minute and large the next, before they
-- are analyzed, so that a cached plan must not be one for an empty table.
CREATE FUNCTION jobs.take_limits(
    keys text[], kinds text[], sizes integer[], spans interval[], shares text[],
    run uuid, id text, of_actor text, on_host text, with_pid integer, lease interval, kept interval
) RETURNS text
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    newcomer CONSTANT bigint := 9223372036854775807;
    locked jobs.limits[];
    l jobs.limits;
    w jobs.limit_waits;
    at timestamptz;
    ahead bigint;
    ranks bigint[];
    mine bigint;
BEGIN
    FOR i IN 1 .. cardinality(keys) LOOP
        locked[i] := jobs.lock_limit(keys[i], kinds[i], sizes[i], spans[i]);
    END LOOP;
    at := jobs.moment();
    IF 'concurrent' = ANY (kinds) AND EXISTS (SELECT FROM jobs.limit_slots AS s WHERE s.token = run) THEN
        RETURN NULL;  -- the answer to the first time was lost
    END IF;
    SELECT * INTO w FROM jobs.limit_waits AS o WHERE o.message_id = id;
    FOR i IN 1 .. cardinality(keys) LOOP
        l := locked[i];
        IF EXISTS (SELECT FROM jobs.limit_waits AS o WHERE o.key = keys[i]) THEN
            ranks[i] := CASE WHEN w.key = keys[i] THEN w.rank
                             ELSE jobs.limit_rank(l, shares[i], COALESCE(w.ticket, newcomer)) END;
            ahead := jobs.limit_ahead(
                keys[i], ranks[i], COALESCE(w.ticket, newcomer), at, kept, l.size);
        ELSE
            ranks[i] := l.rank + 1;
            ahead := 0;
        END IF;
        IF jobs.limit_opens(l, ahead, at) > at THEN
            RETURN keys[i];
        END IF;
    END LOOP;
    FOR i IN 1 .. cardinality(keys) LOOP
        CASE kinds[i]
            WHEN 'concurrent' THEN
                INSERT INTO jobs.limit_slots (token, key, share, message_id, actor, host, pid, expires_at)
                VALUES (run, keys[i], shares[i], id, of_actor, on_host, with_pid, at + lease);
            WHEN 'bucket' THEN
                UPDATE jobs.limits AS o
                   SET busy_until = LEAST(GREATEST(o.busy_until, at), at + o.size * o.span) + o.span,
                       rank = CASE shares[i] WHEN '' THEN 0 ELSE GREATEST(o.rank, ranks[i]) END
                 WHERE o.key = keys[i];
            ELSE
                UPDATE jobs.limits AS o
                   SET starts = o.starts + 1, busy_until = at + o.span,
                       rank = CASE shares[i] WHEN '' THEN 0 ELSE GREATEST(o.rank, ranks[i]) END
                 WHERE o.key = keys[i]
                RETURNING o.starts INTO mine;
                INSERT INTO jobs.limit_starts (key, number, at) VALUES (keys[i], mine, at);
                DELETE FROM jobs.limit_starts AS s
                 WHERE s.key = keys[i] AND s.number <= mine - sizes[i];
        END CASE;
    END LOOP;
    IF w.message_id IS NOT NULL THEN
        DELETE FROM jobs.limit_waits AS o WHERE o.message_id = id;
    END IF;
    RETURN NULL;
END
$$;

-- Let a job wait for the limit that frees last. Returns that limit, and after how long to check
-- again: when its slot opens, or after `at_most` if that depends on the end of another job.
CREATE FUNCTION jobs.wait_for_limits(
    keys text[], kinds text[], sizes integer[], spans interval[], shares text[],
    id text, next_hop integer, kept interval, at_most interval,
    OUT awaited text, OUT opens_in interval, OUT again_in interval
)
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    locked jobs.limits[];
    l jobs.limits;
    w jobs.limit_waits;
    at timestamptz;
    opens timestamptz;
    last_opens timestamptz;
    own_rank bigint;
    last_rank bigint;
    last_share text;
    own_ticket bigint;
BEGIN
    FOR i IN 1 .. cardinality(keys) LOOP
        locked[i] := jobs.lock_limit(keys[i], kinds[i], sizes[i], spans[i]);
    END LOOP;
    at := jobs.moment();
    SELECT * INTO w FROM jobs.limit_waits AS o WHERE o.message_id = id;
    own_ticket := COALESCE(w.ticket, nextval('jobs.limit_tickets'));
    FOR i IN 1 .. cardinality(keys) LOOP
        l := locked[i];
        own_rank := CASE WHEN w.key = keys[i] THEN w.rank
                         ELSE jobs.limit_rank(l, shares[i], own_ticket) END;
        -- Beyond 10 000 it is told a time that is too early, and waits again then.
        opens := jobs.limit_opens(l, jobs.limit_ahead(
            keys[i], own_rank, own_ticket, at, kept, 10000), at);
        IF last_opens IS NULL OR opens > last_opens THEN
            awaited := keys[i];
            last_opens := opens;
            last_rank := CASE WHEN l.kind = 'concurrent' AND opens = at THEN 0
                              -- It was called, and its slot was gone: it is the next one.
                              WHEN l.kind = 'concurrent' AND own_rank = 0
                              THEN jobs.limit_rank(l, shares[i], own_ticket)
                              ELSE own_rank END;
            last_share := shares[i];
        END IF;
    END LOOP;
    INSERT INTO jobs.limit_waits (message_id, hop, key, share, ticket, rank, called_at)
    VALUES (id, next_hop, awaited, last_share, own_ticket, last_rank, NULLIF(last_opens, 'infinity'))
    ON CONFLICT (message_id) DO UPDATE
       SET hop = EXCLUDED.hop, key = EXCLUDED.key, share = EXCLUDED.share, rank = EXCLUDED.rank,
           called_at = EXCLUDED.called_at;
    IF w.key <> awaited AND w.key = ANY (keys) THEN
        PERFORM jobs.call_waiting(w.key, kept);  -- the slot that it was called for is another's
    END IF;
    opens_in := CASE WHEN last_opens < 'infinity' THEN last_opens - at END;
    again_in := COALESCE(opens_in, at_most);
END
$$;

-- Return what a run of a job took, and offer it to the jobs that wait; returns how many slots it
-- had. A job that has ended (`next_hop` is NULL) stops waiting; one that could not start for
-- another reason keeps its ticket but not its slot. Without `lasting` the commit does not wait for
-- the disk: a slot that reappears after a crash of PostgreSQL is free when its lease expires.
CREATE FUNCTION jobs.leave_limits(
    keys text[], run uuid, id text, next_hop integer, kept interval, lasting boolean
) RETURNS integer
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    had integer := 0;
    one text;
BEGIN
    IF NOT lasting THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    FOREACH one IN ARRAY keys LOOP
        PERFORM FROM jobs.limits AS l WHERE l.key = one FOR UPDATE;
    END LOOP;
    IF run IS NOT NULL THEN  -- it has started, so it has waited enough
        DELETE FROM jobs.limit_slots AS s WHERE s.token = run;
        GET DIAGNOSTICS had = ROW_COUNT;
    ELSIF next_hop IS NULL THEN
        DELETE FROM jobs.limit_waits AS w WHERE w.message_id = id;
    ELSE
        UPDATE jobs.limit_waits AS w
           SET hop = next_hop,
               called_at = CASE WHEN w.called_at <= jobs.moment() THEN jobs.moment() - kept
                                ELSE w.called_at END
         WHERE w.message_id = id;
    END IF;
    FOREACH one IN ARRAY keys LOOP
        PERFORM jobs.call_waiting(one, kept);
    END LOOP;
    RETURN had;
END
$$;


-- -------------------------------------------------------------------------------------------------
-- Periodic jobs
-- -------------------------------------------------------------------------------------------------

CREATE TABLE jobs.recurring (
    -- The name of its actor.
    name        text PRIMARY KEY,
    queue       text NOT NULL,
    kind        text NOT NULL,
    spec        text NOT NULL,
    zone        text NOT NULL,
    late        text NOT NULL,
    late_within interval NOT NULL,
    words       text NOT NULL,
    -- What each of its messages carries: tags, a unique key.
    options     jsonb NOT NULL CHECK (jsonb_typeof(options) = 'object'),
    -- The first time that is not decided yet. All times before it had a run, or were skipped on
    -- purpose.
    next_at     timestamptz NOT NULL,
    paused_at   timestamptz,
    declared_at timestamptz NOT NULL DEFAULT jobs.now(),
    -- When a worker or clock that has its actor last said so, which they do every minute.
    seen_at     timestamptz NOT NULL DEFAULT jobs.now()
);

CREATE TABLE jobs.occurrences (
    job        text NOT NULL,
    planned    timestamptz NOT NULL,
    message_id text,
    -- The job that held its unique key, so that no job was sent.
    held_by    text,
    made_by    text NOT NULL CHECK (made_by IN ('clock', 'sweeper', 'hand')),
    made_at    timestamptz NOT NULL DEFAULT jobs.now(),
    -- However many clocks fire, and however their times differ, exactly one inserts the row.
    CONSTRAINT occurrences_key PRIMARY KEY (job, planned),
    CONSTRAINT occurrences_sent_or_held CHECK (num_nonnulls(message_id, held_by) = 1)
);

-- Maintenance deletes the oldest.
CREATE INDEX occurrences_by_time ON jobs.occurrences (planned);

-- Create one run of a periodic job unless it exists: its row and its message commit together. Waits
-- for a transaction that is creating the same run. Returns NULL if the run existed. SECURITY
-- DEFINER, so that a clock can create runs of what is in jobs.recurring, and send nothing else.
CREATE FUNCTION jobs.make_run(of_job text, at timestamptz, by_whom text) RETURNS jobs.occurrences
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
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


-- -------------------------------------------------------------------------------------------------
-- History, for people to read. What must not be lost is in attempts and dead.
-- -------------------------------------------------------------------------------------------------

CREATE SEQUENCE jobs.runs_id;

-- Every run. A partition is a day of PostgreSQL's clock, so that no worker's clock decides what is
-- kept.
CREATE TABLE jobs.runs (
    id           bigint NOT NULL DEFAULT nextval('jobs.runs_id'),
    recorded_at  timestamptz NOT NULL DEFAULT jobs.now(),
    message_id   text NOT NULL,
    hop          integer NOT NULL,
    attempt      integer NOT NULL,
    queue        text NOT NULL,
    actor        text NOT NULL,
    outcome      text NOT NULL CHECK (outcome IN (
        'done', 'retried', 'snoozed', 'interrupted', 'unknown_actor', 'discarded', 'cancelled',
        'skipped', 'dead', 'expired', 'killed', 'absorbed')),
    reason       text NOT NULL,
    error_class  text,
    error        text,
    traceback    text,
    -- By the clocks of its sender and its worker.
    sent_at      timestamptz NOT NULL,
    published_at timestamptz,
    started_at   timestamptz,
    ended_at     timestamptz NOT NULL,
    -- Seconds in its queue and its worker's memory; in its actor; until the next attempt.
    waited_s     double precision,
    took_s       double precision,
    again_s      double precision,
    worker       text NOT NULL,
    parent       text,
    origin       text NOT NULL,
    trace        text,
    tags         text[] NOT NULL DEFAULT '{}',
    release      text NOT NULL,
    -- By name in their order, with secret ones hidden. NULL if they were too large, or erased.
    arguments    json
) PARTITION BY RANGE (recorded_at);

CREATE INDEX runs_by_time ON jobs.runs (recorded_at, id);
CREATE INDEX runs_of_message ON jobs.runs (message_id);
CREATE INDEX runs_of_actor ON jobs.runs (actor, recorded_at);

-- Failures are few, and are what people look for.
CREATE INDEX runs_not_done ON jobs.runs (recorded_at, id) WHERE outcome <> 'done';

-- The latest jobs that a job has sent, which may be a hundred thousand.
CREATE INDEX runs_of_parent ON jobs.runs (parent, recorded_at) WHERE parent IS NOT NULL;

-- How many runs a worker could not record, because PostgreSQL was too slow or away.
CREATE TABLE jobs.runs_lost (
    recorded_at timestamptz NOT NULL DEFAULT jobs.now(),
    worker      text NOT NULL,
    runs        bigint NOT NULL CHECK (runs > 0)
);

-- Maintenance deletes the oldest.
CREATE INDEX runs_lost_by_time ON jobs.runs_lost (recorded_at);

-- Create the partitions of today and the two days after it. SECURITY DEFINER, so that a role that
-- records runs needs no right to create tables. Attached instead of created in place, which would
-- block readers.
CREATE FUNCTION jobs.add_runs_partitions() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    day date;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('jobs.runs', 6));
    FOR day IN SELECT jobs.now()::date + n FROM generate_series(0, 2) AS n LOOP
        name := 'runs_' || to_char(day, 'YYYY_MM_DD');
        CONTINUE WHEN to_regclass('jobs.' || name) IS NOT NULL;
        EXECUTE format('CREATE TABLE jobs.%I (LIKE jobs.runs INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
        EXECUTE format('ALTER TABLE jobs.runs ATTACH PARTITION jobs.%I FOR VALUES FROM (%L) TO (%L)',
                       name, day, day + 1);
    END LOOP;
END
$$;

-- Drop the partitions that end before a time; return how many. Waits for a reader at most
-- `lock_timeout`, because other readers would queue behind it.
CREATE FUNCTION jobs.drop_runs_partitions(before timestamptz) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET lock_timeout = '2s'
AS $$
DECLARE
    name text;
    dropped integer := 0;
BEGIN
    FOR name IN
        SELECT c.relname
          FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'jobs.runs'::regclass
           AND to_date(c.relname, '"runs_"YYYY_MM_DD') + 1 <= before
         ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE jobs.%I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

REVOKE EXECUTE ON FUNCTION jobs.drop_runs_partitions FROM PUBLIC;

SELECT jobs.add_runs_partitions();


-- -------------------------------------------------------------------------------------------------
-- Results and counters
-- -------------------------------------------------------------------------------------------------

-- What jobs return.
CREATE TABLE jobs.results (
    key        text PRIMARY KEY,
    -- As the program's encoder wrote it.
    body       bytea NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Maintenance deletes those that have expired.
CREATE INDEX results_expired ON jobs.results (expires_at);

-- The counters of dramatiq's rate limiters and barriers, and of logins. An expired counter is 0.
CREATE TABLE jobs.counters (
    key        text PRIMARY KEY,
    value      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Maintenance deletes those that have expired.
CREATE INDEX counters_expired ON jobs.counters (expires_at);


-- -------------------------------------------------------------------------------------------------
-- Who may send what
-- -------------------------------------------------------------------------------------------------

-- A role listed here, and every member of it, may send only the actors of all its listed roles;
-- `'{}'` is none. A role that is not listed is not restricted.
CREATE TABLE jobs.senders (
    role   text PRIMARY KEY,
    actors text[] NOT NULL
);

-- Return the actors that the session may send, or NULL if it is not restricted. Decided by the role
-- that logged in, which no function and no SET ROLE changes.
CREATE FUNCTION jobs.sendable() RETURNS text[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found text[];
BEGIN
    IF NOT EXISTS (SELECT FROM jobs.senders) THEN
        RETURN NULL;
    END IF;
    SELECT CASE WHEN count(*) > 0 THEN COALESCE(array_agg(a.actor) FILTER (WHERE a.actor IS NOT NULL), '{}') END
      INTO found
      FROM jobs.senders AS s
      JOIN pg_roles AS r ON r.rolname = s.role
      LEFT JOIN LATERAL unnest(s.actors) AS a (actor) ON true
     WHERE pg_has_role(session_user, r.oid, 'USAGE')
       AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user);
    RETURN found;
END
$$;

-- Return why such a session may not store a message, or NULL. The body decides, because that is
-- what travels: another actor could hide there, and in options that carry messages.
CREATE FUNCTION jobs.sender_problem(wanted jobs.schedule, may text[]) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    message CONSTANT jsonb := wanted.body::jsonb;
    odd text;
BEGIN
    IF wanted.actor <> ALL (may) THEN
        RETURN format('may not send %s', wanted.actor);
    ELSIF (message ->> 'actor_name', message ->> 'queue_name', message ->> 'message_id')
          IS DISTINCT FROM (wanted.actor, wanted.queue, wanted.message_id) THEN
        RETURN 'stores a message that is not that of its row';
    ELSIF wanted.hop <> 0 OR wanted.again OR wanted.reason NOT IN ('send', 'delay')
          OR wanted.taken_by IS NOT NULL OR wanted.sent_at IS NOT NULL THEN
        RETURN 'stores what is no new message';
    END IF;
    SELECT name INTO odd
      FROM jsonb_object_keys(message -> 'options') AS name
     WHERE name NOT IN (
        'origin', 'due', 'expires', 'parent', 'trace', 'tags', 'unique_key', 'unique_for', 'on_conflict',
        'waits_for_key', 'broker_priority', 'max_retries', 'min_backoff', 'max_backoff', 'time_limit',
        'store_results', 'result_ttl', 'awaited')
     LIMIT 1;
    IF FOUND THEN
        RETURN format('may not send with the option %s', odd);
    ELSIF NOT starts_with(COALESCE(message #>> '{options,unique_key}', wanted.actor || ':'), wanted.actor || ':') THEN
        RETURN format('takes only keys that begin with %s:', wanted.actor);
    END IF;
    RETURN NULL;
END
$$;

-- A trigger instead of row-level security: it also sees what SECURITY DEFINER functions store, and
-- can give the reason.
CREATE FUNCTION jobs.refuse_senders() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    may CONSTANT text[] := jobs.sendable();
    problem text;
BEGIN
    IF may IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT jobs.sender_problem(s.*::jobs.schedule, may) INTO problem
      FROM stored AS s
     WHERE jobs.sender_problem(s.*::jobs.schedule, may) IS NOT NULL
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'role % %; jobs.senders has what it may send', session_user, problem
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;

-- Once for each statement, however many rows it stores.
CREATE TRIGGER senders
    AFTER INSERT ON jobs.schedule
    REFERENCING NEW TABLE AS stored
    FOR EACH STATEMENT EXECUTE FUNCTION jobs.refuse_senders();


-- -------------------------------------------------------------------------------------------------
-- Sending from SQL, in the caller's transaction:
--     SELECT jobs.send('send_invoice', '[7]', delay => '3 days');
-- -------------------------------------------------------------------------------------------------

-- Return whether Python reads a JSON number back exactly: an integer of 64 bits, or a number that a
-- double distinguishes from all others. Call it where `extra_float_digits` is 1.
CREATE FUNCTION jobs.survives_json(number numeric) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE
        -- What is written with a point is read as a double, and only that.
        WHEN scale(number) = 0 THEN number BETWEEN -9223372036854775808 AND 18446744073709551615
        WHEN number = 0 THEN true
        WHEN abs(number) NOT BETWEEN 5e-324 AND 1e308 THEN false  -- the cast would raise
        ELSE number::float8::text::numeric = number
    END;

-- Raise for arguments that `actor.send` in Python would refuse, as far as SQL can know. An argument
-- that the actor does not accept fails when the job runs.
CREATE FUNCTION jobs.refuse_arguments(actor text, args jsonb, kwargs jsonb) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET extra_float_digits = 1  -- with less, the text of a double is rounded
AS $$
DECLARE
    size integer := octet_length(args::text) + octet_length(kwargs::text);
    inexact numeric;
BEGIN
    IF jsonb_typeof(args) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION '%: args must be a JSON array, not %; one argument is sent as [7]',
            actor, COALESCE(jsonb_typeof(args), 'NULL') USING ERRCODE = 'invalid_parameter_value';
    ELSIF jsonb_typeof(kwargs) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION '%: kwargs must be a JSON object, not %; arguments by name are sent as {"id": 7}',
            actor, COALESCE(jsonb_typeof(kwargs), 'NULL') USING ERRCODE = 'invalid_parameter_value';
    ELSIF size > 65536 THEN
        RAISE EXCEPTION '%: % bytes of arguments, at most 65536 are sent; store the data and send its id',
            actor, size USING ERRCODE = 'program_limit_exceeded';
    -- Python's encoder ends at 254, and a retry must be written there again.
    ELSIF jsonb_path_exists(jsonb_build_array(args, kwargs), 'strict $.**{201}') THEN
        RAISE EXCEPTION '%: arguments are nested in more than 200 levels; store the data and send its id',
            actor USING ERRCODE = 'program_limit_exceeded';
    END IF;
    SELECT number::numeric INTO inexact
      FROM jsonb_path_query(jsonb_build_array(args, kwargs),
                            'strict $.** ? (@.type() == "number")') AS number
     WHERE NOT jobs.survives_json(number::numeric)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: the number % does not survive JSON exactly; send it as a string',
            actor, left(inexact::text, 80) USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
END
$$;

-- Return whether a JSON value is a list of tags.
CREATE FUNCTION jobs.are_tags(tags jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    RETURN CASE jsonb_typeof(tags)
        WHEN 'array' THEN jsonb_array_length(tags) BETWEEN 1 AND 10 AND NOT EXISTS (
            SELECT FROM jsonb_array_elements(tags) AS tag (value)
             WHERE jsonb_typeof(value) <> 'string'
                OR octet_length(value #>> '{}') NOT BETWEEN 1 AND 100)
        ELSE false
    END;

-- Return what is wrong with an option of a message, or NULL.
CREATE FUNCTION jobs.option_problem(name text, value jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    low bigint;
    high bigint;
    number numeric;
BEGIN
    SELECT known.low, known.high INTO low, high
      FROM (VALUES ('broker_priority', 0, 255),
                   ('expires', 1, 253402300799999),
                   ('max_backoff', 0, 2147483647),
                   ('max_retries', 0, 2147483647),
                   ('min_backoff', 0, 2147483647),
                   ('time_limit', 1, 2147483647),
                   ('unique_for', 1, 2147483647)) AS known (option, low, high)
     WHERE known.option = option_problem.name;
    IF FOUND THEN
        IF jsonb_typeof(value) = 'number' THEN
            number := value::numeric;
            IF scale(number) = 0 AND number BETWEEN low AND high THEN
                RETURN NULL;
            END IF;
        END IF;
        RETURN format('option %s must be a whole number from %s to %s, not %s',
                      name, low, high, left(value::text, 80));
    END IF;
    CASE name
        WHEN 'unique_key' THEN
            IF jsonb_typeof(value) = 'string' AND octet_length(value #>> '{}') BETWEEN 1 AND 1000 THEN
                RETURN NULL;
            END IF;
            RETURN format('option %s must be a string of 1 to 1000 bytes, not %s', name, left(value::text, 80));
        WHEN 'on_conflict' THEN
            IF value IN ('"log"', '"raise"', '"replace"', '"reschedule"') THEN
                RETURN NULL;
            END IF;
            RETURN format('option %s must be one of log, raise, replace, reschedule, not %s',
                          name, left(value::text, 80));
        WHEN 'tags' THEN
            IF jobs.are_tags(value) THEN
                RETURN NULL;
            END IF;
            RETURN format('option %s must be a list of 1 to 10 strings of 1 to 100 bytes, not %s',
                          name, left(value::text, 80));
        ELSE
            RETURN name || ' is not an option to send with; these are: broker_priority, expires, '
                   'max_backoff, max_retries, min_backoff, on_conflict, tags, time_limit, unique_for, unique_key';
    END CASE;
END
$$;

-- Raise for an unknown or invalid option: a misspelt one would be ignored, and the job would run
-- otherwise than its sender expects. Options that say where a job is in its life (`attempt`, `hop`,
-- …) are refused.
CREATE FUNCTION jobs.refuse_options(actor text, options jsonb) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong record;
BEGIN
    IF jsonb_typeof(options) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION '%: options must be a JSON object, not %; for example {"max_retries": 5}',
            actor, COALESCE(jsonb_typeof(options), 'NULL') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT jobs.option_problem(given.key, given.value) AS problem INTO wrong
      FROM jsonb_each(options) AS given
     WHERE jobs.option_problem(given.key, given.value) IS NOT NULL
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: %', actor, wrong.problem
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;

-- Return a message as it travels.
CREATE FUNCTION jobs.envelope(
    id text, actor text, args jsonb, kwargs jsonb, queue text, options jsonb
) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    RETURN json_build_object(
        'queue_name', queue,
        'actor_name', actor,
        'args', args,
        'kwargs', kwargs,
        'options', options,
        'message_id', id,
        'message_timestamp', floor(extract(epoch FROM jobs.now()) * 1000)
    )::text;

-- Store a message together with its key; return the id of the message that holds the key then. A
-- message that does not get the key is not stored, or is stored for later as `waiting_body` if that
-- is given. SECURITY DEFINER, because acquiring a key reads and changes five tables and may end the
-- job that holds it. A restricted sender acquires only keys of its own actors.
CREATE FUNCTION jobs.store_with_key(
    id text, at_hop integer, on_queue text, of_actor text, new_body text, why text, due timestamptz,
    wanted text, span interval, replacing boolean, waiting_body text, pause interval
) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    winner text;
BEGIN
    IF jobs.sendable() IS NOT NULL AND NOT starts_with(wanted, of_actor || ':') THEN
        RAISE EXCEPTION 'role % takes only keys that begin with %:', session_user, of_actor
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- A key is held from now on, and for its span from when the job is due.
    winner := jobs.take_key(wanted, id, at_hop, of_actor, on_queue,
                            span + GREATEST(due - jobs.now(), interval '0'), replacing);
    IF winner = id THEN
        INSERT INTO jobs.schedule (message_id, hop, queue, actor, body, reason, due_at)
        VALUES (id, at_hop, on_queue, of_actor, new_body, why, due);
    ELSIF waiting_body IS NOT NULL THEN
        INSERT INTO jobs.schedule (message_id, hop, queue, actor, body, reason, due_at)
        VALUES (id, at_hop, on_queue, of_actor, waiting_body, 'delay', GREATEST(due, jobs.now() + pause));
    END IF;
    RETURN winner;
END
$$;

-- Store a job in this transaction; a relay sends it once that has committed. With a unique key it
-- also acquires the key, and returns the id of the job that holds it if that is another. The due
-- time of a delayed job is in its message, because `expires` counts from it.
--
-- SECURITY DEFINER, so that an application in another language needs no right but this one: with
-- INSERT on jobs.schedule it could store messages that cannot be read, and with SELECT it could
-- read the arguments of every job. The owner's rights apply only to fixed statements whose values
-- are parameters, all names are qualified, and the search path is fixed with pg_temp last, so that
-- no object of the caller is found. Revoked from PUBLIC for the same reason: a role that may read
-- the schema to watch jobs must not be able to send them.
CREATE FUNCTION jobs.send(
    actor   text,
    args    jsonb DEFAULT '[]',
    kwargs  jsonb DEFAULT '{}',
    delay   interval DEFAULT NULL,
    at      timestamptz DEFAULT NULL,
    queue   text DEFAULT NULL,
    options jsonb DEFAULT '{}'
) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id text := gen_random_uuid();
    due timestamptz := COALESCE(at, jobs.now() + COALESCE(delay, interval '0'));
    why text := CASE WHEN delay IS NULL AND at IS NULL THEN 'send' ELSE 'delay' END;
    known jobs.actors;
    winner text;
BEGIN
    IF delay IS NOT NULL AND at IS NOT NULL THEN
        RAISE EXCEPTION '%: give delay or at, not both', actor
            USING ERRCODE = 'invalid_parameter_value';
    -- One row whose date Python cannot read, and no list of what waits can be read any more.
    ELSIF due NOT BETWEEN '0001-01-02 00:00Z' AND '9999-12-30 00:00Z' THEN
        RAISE EXCEPTION '%: due at %, which is no date that can be reached; give one of the years 1 to 9999',
            actor, due USING ERRCODE = 'datetime_field_overflow';
    END IF;
    PERFORM jobs.refuse_arguments(actor, args, kwargs);
    PERFORM jobs.refuse_options(actor, options);

    SELECT * INTO known FROM jobs.actors WHERE actors.name = send.actor;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no worker has declared an actor "%" in this database; correct the name, or start a worker that has it', actor
            USING ERRCODE = 'undefined_object';
    ELSIF known.has_key AND NOT options ? 'unique_key' THEN
        RAISE EXCEPTION '%: its jobs are unique, and their key is computed in Python; give it: options => {"unique_key": "…"}', actor
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    queue := COALESCE(queue, known.queue);
    IF NOT EXISTS (SELECT FROM jobs.queues WHERE queues.name = send.queue) THEN
        RAISE EXCEPTION '%: queue "%" is not declared; correct the name, or start a worker or relay of the program that declares it', actor, queue
            USING ERRCODE = 'undefined_object';
    END IF;

    options := options || '{"origin": "transaction"}' || CASE why
        WHEN 'send' THEN '{}'
        ELSE jsonb_build_object('due', floor(GREATEST(extract(epoch FROM due), 0) * 1000))
    END;
    IF NOT options ? 'unique_key' THEN
        INSERT INTO jobs.schedule (message_id, hop, queue, actor, body, reason, due_at)
        VALUES (id, 0, queue, actor, jobs.envelope(id, actor, args, kwargs, queue, options), why, due);
        RETURN id;
    END IF;
    winner := jobs.store_with_key(
        id, 0, queue, actor, jobs.envelope(id, actor, args, kwargs, queue, options), why, due,
        options ->> 'unique_key',
        (options ->> 'unique_for')::bigint * interval '1 ms',
        COALESCE(options ->> 'on_conflict' = 'replace', false),
        CASE options ->> 'on_conflict' WHEN 'reschedule' THEN
            jobs.envelope(id, actor, args, kwargs, queue, options || '{"waits_for_key": true}')
        END,
        interval '5 s');
    IF winner <> id AND options ->> 'on_conflict' = 'raise' THEN
        RAISE EXCEPTION '%: job % has the key "%"', actor, winner, options ->> 'unique_key'
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN CASE options ->> 'on_conflict' WHEN 'reschedule' THEN id ELSE winner END;
END
$$;

COMMENT ON FUNCTION jobs.send IS
    'Store a job in this transaction; a relay sends it once that has committed. Returns its message id.';

-- PostgreSQL lets every role execute every function. A role sends with these.
REVOKE EXECUTE ON FUNCTION jobs.send, jobs.store_with_key, jobs.make_run FROM PUBLIC;


-- -------------------------------------------------------------------------------------------------
-- The console
-- -------------------------------------------------------------------------------------------------

-- What operators did.
CREATE TABLE jobs.audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT jobs.now(),
    who    text NOT NULL,
    -- For example `dead.retry`; its targets, as ids or a filter; and how many were changed.
    action text NOT NULL,
    about  jsonb NOT NULL,
    count  bigint NOT NULL CHECK (count >= 0),
    said   text NOT NULL
);

-- Append-only: even a role that may write the table cannot change a row by mistake.
CREATE FUNCTION jobs.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'jobs.audit is append-only: % is refused', TG_OP
          USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON jobs.audit
    FOR EACH STATEMENT EXECUTE FUNCTION jobs.refuse_change();

-- Count a login attempt of `who`, unless there were `most` within the span. SECURITY DEFINER,
-- because an operator's session writes to no table, and the same table has the limits and barriers
-- of jobs.
CREATE FUNCTION jobs.count_login(who text, most integer, span interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name CONSTANT text := 'console login ' || who;
    now_s CONSTANT bigint := floor(extract(epoch FROM jobs.now()));
    first_s CONSTANT bigint := now_s - ceil(extract(epoch FROM span));
    tries bigint;
BEGIN
    -- Of two at once both would be the last.
    PERFORM pg_advisory_xact_lock(hashtextextended('jobs.counters ' || name, 0));
    SELECT COALESCE(sum(c.value), 0) INTO tries
      FROM jobs.counters AS c
     WHERE c.key = ANY (ARRAY(SELECT name || '@' || s FROM generate_series(first_s, now_s) AS s))
       AND c.expires_at > jobs.now();
    IF tries >= most THEN
        RETURN false;
    END IF;
    INSERT INTO jobs.counters AS c (key, value, expires_at)
    VALUES (name || '@' || now_s, 1, jobs.now() + span)
        ON CONFLICT (key) DO UPDATE
       SET value = CASE WHEN c.expires_at > jobs.now() THEN c.value ELSE 0 END + 1,
           expires_at = excluded.expires_at;
    RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION jobs.count_login FROM PUBLIC;


-- -------------------------------------------------------------------------------------------------
-- Retention
-- -------------------------------------------------------------------------------------------------

-- When a relay last found nothing more to delete of each kind. `workshed doctor` warns if that is
-- long ago.
CREATE TABLE jobs.pruned (
    name    text PRIMARY KEY,
    done_at timestamptz NOT NULL DEFAULT jobs.now()
);

INSERT INTO jobs.pruned (name)
VALUES ('dead jobs'), ('attempts'), ('batches'), ('periodic jobs'), ('periodic runs'), ('history');
