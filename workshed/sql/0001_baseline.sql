-- What PostgreSQL stores about jobs. Everything is created inside this schema.
CREATE SCHEMA workshed;

-- Which files of each stream have been applied to this database. A checksum detects a file that was
-- edited afterwards.
CREATE TABLE workshed.migrations (
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
CREATE FUNCTION workshed.now() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN statement_timestamp();

-- Like `workshed.now()`, but advances within a statement: after waiting for a lock, the time after
-- the wait counts.
CREATE FUNCTION workshed.wall_clock() RETURNS timestamptz
    LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN clock_timestamp();


-- -------------------------------------------------------------------------------------------------
-- The outbox: jobs that wait in PostgreSQL, and the relays that publish them
-- -------------------------------------------------------------------------------------------------

-- Every message that is not on RabbitMQ yet: delays, retries, and jobs sent inside a transaction.
CREATE TABLE workshed.schedule (
    message_id         text NOT NULL,
    -- How often the message was put back on its way: a fencing token, because a copy of an earlier
    -- generation may no longer write anything. Part of the key, so that a retry can be stored before
    -- the relay's delete of the previous row commits.
    generation         integer NOT NULL CHECK (generation >= 0),
    queue              text NOT NULL,
    actor              text NOT NULL,
    body               text NOT NULL,
    due_at             timestamptz NOT NULL,
    reason             text NOT NULL
        CONSTRAINT schedule_reason CHECK (reason IN (
            'transactional',
            'delayed',
            'retry',
            'snoozed',
            'outbox_lease',   -- its sender publishes it, or a relay if the sender dies
            'broker_down',    -- RabbitMQ could not take it
            'interrupted',    -- by a shutdown of its worker
            'unknown_actor',  -- no worker that received it knows its actor
            'redriven'        -- was dead, and is retried by an operator
        )),
    created_at         timestamptz NOT NULL DEFAULT workshed.now(),
    -- The relay that is publishing the row.
    claimed_by         uuid,
    claimed_at         timestamptz,
    -- RabbitMQ may already have a copy. The next copy says so, and its consumer checks for
    -- duplicates.
    possible_duplicate boolean NOT NULL DEFAULT false,
    -- Confirmed by a classic queue, whose confirm does not mean that the message is on disk: the
    -- row is kept until the outcome is stored.
    sent_at            timestamptz,
    -- When its queue was first seen without a ready message after that: the job is running, or
    -- lost.
    seen_empty_at      timestamptz,
    CONSTRAINT schedule_key PRIMARY KEY (message_id, generation),
    CONSTRAINT schedule_claimed CHECK ((claimed_by IS NULL) = (claimed_at IS NULL)),
    CONSTRAINT schedule_seen_empty CHECK (seen_empty_at IS NULL OR sent_at IS NOT NULL)
);

-- A relay reads the next due rows that no relay has claimed, in this order.
CREATE INDEX schedule_due ON workshed.schedule (due_at) WHERE claimed_by IS NULL AND sent_at IS NULL;

-- Finds the rows of a relay that died. Few rows are claimed at any time.
CREATE INDEX schedule_claimed_by ON workshed.schedule (claimed_by) WHERE claimed_by IS NOT NULL;

-- In flight on classic queues: found by queue when the queue is seen empty.
CREATE INDEX schedule_kept ON workshed.schedule (queue, sent_at) WHERE sent_at IS NOT NULL;

-- A relay without a heartbeat for 10 s is taken for dead, and its rows may be claimed by another.
CREATE TABLE workshed.relays (
    id         uuid PRIMARY KEY,
    host       text NOT NULL,
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT workshed.now(),
    beat_at    timestamptz NOT NULL DEFAULT workshed.now()
);


-- -------------------------------------------------------------------------------------------------
-- What workers have declared: queues, actors, and the workers themselves
-- -------------------------------------------------------------------------------------------------

-- The queues that workers and relays have declared.
CREATE TABLE workshed.queues (
    name                       text PRIMARY KEY,
    kind                       text NOT NULL CHECK (kind IN ('quorum', 'classic')),
    paused_at                  timestamptz,
    seen_at                    timestamptz NOT NULL DEFAULT workshed.now(),
    -- No message published before this waits on RabbitMQ: workers have it, or it is done.
    oldest_possible_publish_at timestamptz NOT NULL DEFAULT workshed.now(),
    -- When a delivery last went back to the queue. Positions of deliveries received before this no
    -- longer tell what the queue still holds.
    last_requeued_at           timestamptz
);

-- The actors that workers have declared. `workshed.send` and the console read them.
CREATE TABLE workshed.actors (
    name       text PRIMARY KEY,
    queue      text NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT workshed.now(),
    has_key    boolean NOT NULL DEFAULT false,
    -- The names of its arguments, and those whose values are secret, for showing its jobs.
    parameters text[] NOT NULL DEFAULT '{}',
    redact     text[] NOT NULL DEFAULT '{}'
);

COMMENT ON COLUMN workshed.actors.has_key IS
    'Its key is computed from its arguments, in Python: who sends by SQL has to give it.';

-- Worker processes, and how far each has worked off its queues: the age of the oldest waiting job
-- is computed from these.
CREATE TABLE workshed.workers (
    id             uuid PRIMARY KEY,
    host           text NOT NULL,
    pid            integer NOT NULL,
    threads        integer NOT NULL,
    busy           integer NOT NULL,
    release        text NOT NULL,
    started_at     timestamptz NOT NULL DEFAULT workshed.now(),
    beat_at        timestamptz NOT NULL DEFAULT workshed.now(),
    -- When it was taken for dead. RabbitMQ has requeued what it held.
    expired_at     timestamptz,
    -- The queues it consumes. The next two arrays have one value for each queue.
    queues         text[] NOT NULL,
    -- Publish time of the oldest delivery that has not started.
    oldest_waiting timestamptz[] NOT NULL,
    -- Publish time of the oldest delivery that RabbitMQ would redeliver if this process died,
    -- including those that are running.
    oldest_held    timestamptz[] NOT NULL,
    -- Its jobs at its last heartbeat: an array of objects with message_id, actor, queue and since.
    running        jsonb NOT NULL DEFAULT '[]',
    memory_bytes   bigint,
    -- When it was asked to start no more jobs.
    quiet_at       timestamptz
);


-- -------------------------------------------------------------------------------------------------
-- Idempotency: what has happened already
-- -------------------------------------------------------------------------------------------------

-- The highest generation of each message whose outcome is stored. A copy of that generation or an
-- earlier one is dropped as a duplicate.
CREATE TABLE workshed.completed_generations (
    message_id   text PRIMARY KEY,
    generation   integer NOT NULL,
    completed_at timestamptz NOT NULL DEFAULT workshed.now()
);

-- Maintenance deletes the oldest, except those of a message that still has a row in schedule or
-- dead.
CREATE INDEX completed_generations_by_time ON workshed.completed_generations (completed_at);

-- Starts of redelivered jobs that have no outcome yet: shows which of them kills its worker.
CREATE TABLE workshed.redelivered_starts (
    message_id text PRIMARY KEY,
    generation integer NOT NULL,
    -- Starts as the only job of its process. Only these count, because of several jobs that ran
    -- concurrently any may have killed the process.
    isolated   integer NOT NULL DEFAULT 0,
    host       text NOT NULL,
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT workshed.now()
);

-- Effects that have happened. A key commits together with the effect it stands for.
CREATE TABLE workshed.once_keys (
    scope      text NOT NULL,
    key        text NOT NULL,
    message_id text NOT NULL,
    done_at    timestamptz NOT NULL DEFAULT workshed.now(),
    CONSTRAINT once_keys_key PRIMARY KEY (scope, key)
);

-- Maintenance deletes the oldest.
CREATE INDEX once_keys_by_time ON workshed.once_keys (done_at);

-- The progress of resumable steps.
CREATE TABLE workshed.steps (
    message_id text NOT NULL,
    name       text NOT NULL
        CONSTRAINT steps_name CHECK (length(name) BETWEEN 1 AND 100),
    -- Where the step continues: null, or a value of the job. Commits together with the work it
    -- stands for.
    cursor     jsonb NOT NULL DEFAULT 'null',
    -- The run that began the step last. An earlier run, or a copy of the job, can no longer write.
    owner      uuid NOT NULL,
    done       boolean NOT NULL DEFAULT false,
    saved_at   timestamptz NOT NULL DEFAULT workshed.now(),
    PRIMARY KEY (message_id, name)
);

-- Maintenance deletes the oldest.
CREATE INDEX steps_saved ON workshed.steps (saved_at);


-- -------------------------------------------------------------------------------------------------
-- Failures: attempts and dead jobs
-- -------------------------------------------------------------------------------------------------

-- Each failed attempt and each discard, stored in the transaction of the outcome.
CREATE TABLE workshed.attempts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  text NOT NULL,
    generation  integer NOT NULL,
    attempt     integer NOT NULL,
    queue       text NOT NULL,
    actor       text NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN (
        'retry', 'discarded', 'cancelled', 'skipped', 'dead', 'expired', 'poison')),
    reason      text NOT NULL,
    error_class text,
    error       text,
    traceback   text,
    ended_at    timestamptz NOT NULL DEFAULT workshed.now()
);

CREATE INDEX attempts_of_message ON workshed.attempts (message_id, id);

-- Maintenance deletes the oldest.
CREATE INDEX attempts_by_time ON workshed.attempts (ended_at);

-- Jobs that are not retried unless an operator asks for it, and messages that could not be read.
CREATE TABLE workshed.dead (
    message_id     text PRIMARY KEY,
    generation     integer NOT NULL,
    attempt        integer NOT NULL,
    queue          text NOT NULL,
    actor          text,
    -- As received: a message that could not be decoded need not be text.
    body           bytea NOT NULL,
    reason         text NOT NULL,
    error_class    text,
    died_at        timestamptz NOT NULL DEFAULT workshed.now(),
    -- Where its program failed, `file.py:12 in function`. Part of what makes a group of dead jobs.
    error_location text,
    -- The release of the worker in which it died.
    release        text
);

CREATE INDEX dead_by_time ON workshed.dead (died_at);

-- Counts groups without reading the bodies, which are a hundred times as large.
CREATE INDEX dead_by_group ON workshed.dead (error_class, actor, error_location, died_at)
    INCLUDE (queue);


-- -------------------------------------------------------------------------------------------------
-- Cancellation
-- -------------------------------------------------------------------------------------------------

-- Cancelled messages. A copy that is on its way, or returns to its queue, is skipped when it
-- starts.
CREATE TABLE workshed.cancellations (
    message_id       text PRIMARY KEY,
    cancelled_at     timestamptz NOT NULL DEFAULT workshed.now(),
    -- False if the message never reached RabbitMQ: then no worker has to keep its id in memory.
    may_be_delivered boolean NOT NULL,
    -- Ids are assigned before they commit. A reader that remembers the xmin of its snapshot misses
    -- none.
    xid              xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- When the worker that runs the job told it that it is cancelled.
    notified_at      timestamptz
);

-- A worker reads those that are new since its last look, among those it may receive.
CREATE INDEX cancellations_by_xid ON workshed.cancellations (xid) WHERE may_be_delivered;

-- Maintenance deletes the oldest.
CREATE INDEX cancellations_by_time ON workshed.cancellations (cancelled_at);

-- Cancels jobs that only RabbitMQ holds: every job that matches and was sent before `sent_before`,
-- unless an operator retried it since.
CREATE TABLE workshed.cancel_rules (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor       text,
    queue       text,
    tag         text,
    -- Whole milliseconds, the unit of a message's timestamp, so that SQL and Python compare alike.
    sent_before timestamptz NOT NULL CHECK (sent_before = date_trunc('milliseconds', sent_before)),
    created_at  timestamptz NOT NULL DEFAULT workshed.now(),
    CONSTRAINT cancel_rules_has_filter CHECK (num_nonnulls(actor, queue, tag) > 0)
);

-- Return whether a message was cancelled, before it is put back on its way. Waits for a transaction
-- that is cancelling it and cannot see the row that follows: otherwise that row, with its lock,
-- would stay until it is due. Volatile, so that the second statement sees what the first waited
-- for.
CREATE FUNCTION workshed.is_cancelled(id text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(id, 6));
    RETURN EXISTS (SELECT FROM workshed.cancellations WHERE message_id = id);
END
$$;

-- Return the rule that cancels a job, or NULL.
CREATE FUNCTION workshed.matching_cancel_rule(actor text, queue text, tags text[], sent_ms bigint)
    RETURNS bigint LANGUAGE sql STABLE
    RETURN (
        SELECT min(r.id)
          FROM workshed.cancel_rules AS r
         WHERE (r.actor IS NULL OR r.actor = matching_cancel_rule.actor)
           AND (r.queue IS NULL OR r.queue = matching_cancel_rule.queue)
           AND (r.tag IS NULL OR r.tag = ANY (tags))
           AND r.sent_before > to_timestamp(sent_ms / 1000.0));


-- -------------------------------------------------------------------------------------------------
-- Batches: jobs that belong together, and the jobs sent when they end
-- -------------------------------------------------------------------------------------------------

CREATE TABLE workshed.batches (
    id                  uuid PRIMARY KEY,
    description         text NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT workshed.now(),
    -- Before this, any sender may add jobs and the batch is not complete. After it, only its own
    -- jobs may.
    closed_at           timestamptz,
    cancelled_at        timestamptz,
    -- Its first death, the first time that all jobs had ended, and when all had succeeded.
    died_at             timestamptz,
    completed_at        timestamptz,
    succeeded_at        timestamptz,
    -- Written by each transaction that checks whether the batch is complete, so that they wait for
    -- each other.
    progress_checked_at timestamptz
);

CREATE INDEX batches_by_time ON workshed.batches (created_at);

-- A relay looks here for jobs that still wait. Almost always there are none.
CREATE INDEX batches_cancelling ON workshed.batches (id)
 WHERE cancelled_at IS NOT NULL AND completed_at IS NULL;

-- Maintenance deletes those that ended long ago.
CREATE INDEX batches_by_completion ON workshed.batches (completed_at) WHERE completed_at IS NOT NULL;

-- The jobs a batch sends. Stored with the batch, so that it can end without a program that has the
-- actor.
CREATE TABLE workshed.batch_callbacks (
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
CREATE TABLE workshed.batch_jobs (
    message_id text PRIMARY KEY,
    batch_id   uuid NOT NULL,
    state      text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'succeeded', 'discarded', 'cancelled', 'dead')),
    ended_at   timestamptz,
    CONSTRAINT batch_jobs_ended CHECK ((state = 'pending') = (ended_at IS NULL))
);

-- Counts by state, and finds the next pending job without reading those that have ended.
CREATE INDEX batch_jobs_by_state ON workshed.batch_jobs (batch_id, state, message_id);

-- Send a callback now, as a job like any other: `expires` and cancellation rules count from now.
CREATE FUNCTION workshed.enqueue_callback(batch uuid, why text) RETURNS void
    LANGUAGE plpgsql
AS $$
DECLARE
    message json;
BEGIN
    SELECT c.body::json INTO message
      FROM workshed.batch_callbacks AS c
     WHERE c.batch_id = batch AND c.event = why AND c.sent_at IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE workshed.batch_callbacks AS c
       SET sent_at = workshed.now(), body = NULL
     WHERE c.batch_id = batch AND c.event = why;
    INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
    VALUES (message ->> 'message_id', 0, message ->> 'queue_name', message ->> 'actor_name',
            -- Of JSON and not of JSONB, which cannot hold every text that JSON can.
            json_build_object(
                'queue_name', message -> 'queue_name',
                'actor_name', message -> 'actor_name',
                'args', message -> 'args',
                'kwargs', message -> 'kwargs',
                'options', message -> 'options',
                'message_id', message -> 'message_id',
                'message_timestamp', floor(extract(epoch FROM workshed.now()) * 1000)),
            'transactional', workshed.now());
END
$$;

-- Send the callbacks that are due if all jobs of a batch have ended. Waits for others that check.
CREATE FUNCTION workshed.complete_batch(batch uuid) RETURNS void
    LANGUAGE plpgsql
    -- Planned for any number of rows: a batch has none one minute, and a million the next.
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    known workshed.batches;
BEGIN
    UPDATE workshed.batches AS b
       SET progress_checked_at = workshed.now()
     WHERE b.id = batch
    RETURNING * INTO known;
    -- Statements of their own, which see what those have written for whom the one before waited.
    IF known.closed_at IS NULL OR EXISTS (
        SELECT FROM workshed.batch_jobs AS j WHERE j.batch_id = batch AND j.state = 'pending'
    ) THEN
        RETURN;
    END IF;
    UPDATE workshed.batches AS b
       SET completed_at = COALESCE(b.completed_at, workshed.now())
     WHERE b.id = batch;
    PERFORM workshed.enqueue_callback(batch, 'complete');
    IF known.cancelled_at IS NULL AND NOT EXISTS (
        SELECT FROM workshed.batch_jobs AS j
         WHERE j.batch_id = batch AND j.state IN ('cancelled', 'dead')
    ) THEN
        UPDATE workshed.batches AS b
           SET succeeded_at = COALESCE(b.succeeded_at, workshed.now())
         WHERE b.id = batch;
        PERFORM workshed.enqueue_callback(batch, 'success');
    END IF;
END
$$;

-- End a job of a batch, in the transaction of its outcome. A second call changes nothing.
--
-- The last job to end must notice that it is the last, although two that end at once cannot see
-- each other. A counter would make all of them wait for one row. Instead each job locks another
-- pending job, whose end waits for that lock and therefore sees this one. Only if all other jobs
-- are ending right now do they check one after the other, at the row of the batch.
CREATE FUNCTION workshed.end_batch_job(id text, how text) RETURNS boolean
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    batch uuid;
BEGIN
    UPDATE workshed.batch_jobs AS j
       SET state = how, ended_at = workshed.now()
     WHERE j.message_id = id AND j.state = 'pending'
    RETURNING j.batch_id INTO batch;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF how = 'dead' THEN
        UPDATE workshed.batches AS b
           SET died_at = workshed.now()
         WHERE b.id = batch AND b.died_at IS NULL;
        IF FOUND THEN
            PERFORM workshed.enqueue_callback(batch, 'death');
        END IF;
    END IF;
    -- The next one, so that each has another: one that all had locked could not end.
    PERFORM FROM workshed.batch_jobs AS j
      WHERE j.batch_id = batch AND j.state = 'pending' AND j.message_id > id
      ORDER BY j.message_id
      LIMIT 1
        FOR SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        PERFORM FROM workshed.batch_jobs AS j
          WHERE j.batch_id = batch AND j.state = 'pending' AND j.message_id < id
          ORDER BY j.message_id
          LIMIT 1
            FOR SHARE SKIP LOCKED;
    END IF;
    IF NOT FOUND THEN
        PERFORM workshed.complete_batch(batch);
    END IF;
    RETURN true;
END
$$;

-- Return why `adder` cannot add a job to a batch, or ''. Then that holds until the caller's
-- transaction ends, because it has locked a row without which the batch cannot complete.
CREATE FUNCTION workshed.batch_refusal(batch uuid, adder text) RETURNS text
    LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    known workshed.batches;
BEGIN
    SELECT * INTO known FROM workshed.batches AS b WHERE b.id = batch;
    IF NOT FOUND THEN
        RETURN 'there is no such batch in this database, or it is not committed';
    ELSIF known.cancelled_at IS NOT NULL THEN
        RETURN 'it was cancelled';
    END IF;
    PERFORM FROM workshed.batch_jobs AS j
      WHERE j.message_id = adder AND j.batch_id = batch AND j.state = 'pending'
        FOR SHARE;
    IF FOUND THEN
        RETURN '';
    END IF;
    -- Keeps it from being closed, and nobody from asking whether it is complete.
    PERFORM FROM workshed.batches AS b WHERE b.id = batch AND b.closed_at IS NULL FOR KEY SHARE;
    IF FOUND THEN
        RETURN '';
    END IF;
    RETURN 'it is closed, and only a job of it that runs can add to it';
END
$$;

-- Close a batch; false if it was closed, or does not exist. A batch without jobs is complete then.
CREATE FUNCTION workshed.close_batch(batch uuid) RETURNS boolean
    LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM FROM workshed.batches AS b WHERE b.id = batch FOR UPDATE;  -- waits for those who add
    UPDATE workshed.batches AS b
       SET closed_at = workshed.now()
     WHERE b.id = batch AND b.closed_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM workshed.complete_batch(batch);
    RETURN true;
END
$$;

-- Cancel a batch; false if it does not exist, or all its jobs have ended. From the commit on no job
-- of it starts, and running ones are told. A relay deletes the rows of waiting jobs, a few at a
-- time.
CREATE FUNCTION workshed.cancel_batch(batch uuid) RETURNS boolean
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
BEGIN
    PERFORM FROM workshed.batches AS b WHERE b.id = batch FOR UPDATE;  -- waits for those who add
    UPDATE workshed.batches AS b
       SET cancelled_at = COALESCE(b.cancelled_at, workshed.now()),
           closed_at = COALESCE(b.closed_at, workshed.now())
     WHERE b.id = batch AND (b.completed_at IS NULL OR EXISTS (
               SELECT FROM workshed.batch_jobs AS j WHERE j.batch_id = batch AND j.state = 'pending'));
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO workshed.cancellations (message_id, may_be_delivered)
    SELECT j.message_id, NOT EXISTS (
               SELECT FROM workshed.schedule AS s
                WHERE s.message_id = j.message_id
                  AND s.claimed_by IS NULL AND s.sent_at IS NULL AND NOT s.possible_duplicate)
      FROM workshed.batch_jobs AS j
     WHERE j.batch_id = batch AND j.state = 'pending'
     ORDER BY j.message_id
    ON CONFLICT (message_id) DO UPDATE
       SET cancelled_at = workshed.now(), xid = EXCLUDED.xid,
           may_be_delivered = cancellations.may_be_delivered OR EXCLUDED.may_be_delivered;
    PERFORM workshed.complete_batch(batch);
    RETURN true;
END
$$;


-- -------------------------------------------------------------------------------------------------
-- Unique keys and run locks
-- -------------------------------------------------------------------------------------------------

-- At most one job per key that has not ended, however it is sent. A generation of a message holds
-- the key, so that a copy of an earlier generation cannot release it.
CREATE TABLE workshed.unique_locks (
    key         text PRIMARY KEY,
    message_id  text NOT NULL,
    generation  integer NOT NULL,
    actor       text NOT NULL,
    queue       text NOT NULL,
    acquired_at timestamptz NOT NULL DEFAULT workshed.now(),
    expires_at  timestamptz
);

CREATE INDEX unique_locks_of_message ON workshed.unique_locks (message_id);

-- At most one running job per key. A lease, renewed by the process that runs the job.
CREATE TABLE workshed.run_locks (
    key         text PRIMARY KEY,
    -- New with each start: a process that was stopped for longer than its lease finds another
    -- token.
    token       uuid NOT NULL,
    message_id  text NOT NULL,
    generation  integer NOT NULL,
    actor       text NOT NULL,
    queue       text NOT NULL,
    host        text NOT NULL,
    pid         integer NOT NULL,
    acquired_at timestamptz NOT NULL DEFAULT workshed.now(),
    expires_at  timestamptz NOT NULL
);

-- End the job that holds a key, so that another can have it: a worker that runs it, or receives it
-- later, finds its outcome stored.
CREATE FUNCTION workshed.replace_holder(holder workshed.unique_locks, replacement text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    -- First, as every transaction that stores an outcome does: in another order two of them would
    -- wait for each other.
    INSERT INTO workshed.completed_generations AS s (message_id, generation)
    VALUES (holder.message_id, holder.generation)
    ON CONFLICT (message_id) DO UPDATE
       SET generation = EXCLUDED.generation, completed_at = workshed.now()
     WHERE s.generation < EXCLUDED.generation;
    IF NOT FOUND THEN
        RETURN;  -- it has come to an outcome, and has freed the key or moved on
    END IF;
    DELETE FROM workshed.redelivered_starts AS s WHERE s.message_id = holder.message_id;
    DELETE FROM workshed.schedule AS s
     WHERE s.message_id = holder.message_id AND s.generation <= holder.generation;
    DELETE FROM workshed.unique_locks AS l
     WHERE l.message_id = holder.message_id AND l.generation <= holder.generation;
    INSERT INTO workshed.attempts (message_id, generation, attempt, queue, actor, outcome, reason)
    VALUES (holder.message_id, holder.generation, 0, holder.queue, holder.actor, 'discarded',
            'replaced by ' || replacement);
    PERFORM workshed.end_batch_job(holder.message_id, 'cancelled');
END
$$;

-- Acquire a key unless another message holds it; return the id of its holder. Takes over an expired
-- lock, and with `replacing` the lock of a job that has ended or is ended here. Waits for a
-- transaction that is about to acquire or release the key.
CREATE FUNCTION workshed.acquire_key(
    wanted text, id text, at_generation integer, of_actor text, on_queue text, span interval,
    replacing boolean
) RETURNS text
    LANGUAGE plpgsql
AS $$
DECLARE
    holder workshed.unique_locks;
BEGIN
    LOOP
        INSERT INTO workshed.unique_locks AS l (key, message_id, generation, actor, queue, expires_at)
        VALUES (wanted, id, at_generation, of_actor, on_queue, workshed.now() + span)
        ON CONFLICT ON CONSTRAINT unique_locks_pkey DO UPDATE
           SET message_id = EXCLUDED.message_id, generation = EXCLUDED.generation, actor = EXCLUDED.actor,
               queue = EXCLUDED.queue, acquired_at = workshed.now(), expires_at = EXCLUDED.expires_at
         WHERE l.expires_at <= workshed.now() OR l.message_id = EXCLUDED.message_id;
        IF FOUND THEN
            RETURN id;
        END IF;
        SELECT * INTO holder FROM workshed.unique_locks AS l WHERE l.key = wanted;
        CONTINUE WHEN NOT FOUND;  -- freed in between
        IF NOT replacing THEN
            RETURN holder.message_id;
        END IF;
        PERFORM workshed.replace_holder(holder, id);
        -- Of a job that has ended or moved on meanwhile nothing else is left to end.
        DELETE FROM workshed.unique_locks AS l
         WHERE l.key = wanted AND l.message_id = holder.message_id AND l.generation = holder.generation;
    END LOOP;
END
$$;


-- -------------------------------------------------------------------------------------------------
-- Concurrency and rate limits
-- -------------------------------------------------------------------------------------------------

-- One row per key, locked by every transaction that takes a slot, returns one, or waits for one. A
-- transaction that needs several locks them in the order in which Python sorts their keys.
CREATE TABLE workshed.limits (
    key         text PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('concurrent', 'window', 'bucket')),
    -- How many at a time; within a window; at once from a full bucket.
    size        integer NOT NULL CHECK (size > 0),
    -- The window, or the time in which a bucket gains one start.
    span        interval,
    -- The number of starts so far, for a window.
    start_count bigint NOT NULL DEFAULT 0,
    -- The rank of the job that started last, for limits with shares.
    fair_rank   bigint NOT NULL DEFAULT 0,
    -- From then on the limit is idle: the last start has left the window, or the bucket is full.
    idle_at     timestamptz NOT NULL DEFAULT workshed.now(),
    CONSTRAINT limits_span CHECK ((kind = 'concurrent') = (span IS NULL))
) WITH (fillfactor = 70);  -- updated with each start, which then stays in its page

-- The running jobs of concurrency limits. Leases, renewed by the process that runs the job.
CREATE TABLE workshed.limit_slots (
    -- New with each start, and the same for all limits of that start.
    token       uuid NOT NULL,
    key         text NOT NULL,
    share       text NOT NULL,
    message_id  text NOT NULL,
    actor       text NOT NULL,
    host        text NOT NULL,
    pid         integer NOT NULL,
    acquired_at timestamptz NOT NULL DEFAULT workshed.now(),
    expires_at  timestamptz NOT NULL,
    CONSTRAINT limit_slots_key PRIMARY KEY (token, key)
);

CREATE INDEX limit_slots_of_key ON workshed.limit_slots (key, share);

-- The latest starts of a window, at most as many as fit into it.
CREATE TABLE workshed.limit_starts (
    key    text NOT NULL,
    number bigint NOT NULL,
    at     timestamptz NOT NULL,
    CONSTRAINT limit_starts_key PRIMARY KEY (key, number)
);

CREATE SEQUENCE workshed.limit_waiter_seq;

-- Jobs that were over a limit. Each has a row in schedule, or is on its way. A job waits for one of
-- its limits at a time, the one that frees last; all are checked when it comes.
CREATE TABLE workshed.limit_waiters (
    message_id    text PRIMARY KEY,
    generation    integer NOT NULL,
    key           text NOT NULL,
    share         text NOT NULL,
    -- Order of arrival. Kept until the job starts, whichever limit it waits for.
    seq           bigint NOT NULL,
    -- Order of start: the seq, or with shares how many of its share start before it, so that
    -- shares take turns.
    fair_rank     bigint NOT NULL,
    -- When a slot is offered to it, which is kept for it a little longer. NULL if none is in sight.
    offered_at    timestamptz,
    waiting_since timestamptz NOT NULL DEFAULT workshed.now()
);

CREATE INDEX limit_waiters_in_order ON workshed.limit_waiters (key, fair_rank, seq);

-- A transaction that returns a slot looks for the first job of each share without an offer.
CREATE INDEX limit_waiters_without_offer ON workshed.limit_waiters (key, share, seq)
    WHERE offered_at IS NULL;

-- Lock the row of a limit, and make it what this release declares. Lock several in their one order.
CREATE FUNCTION workshed.lock_limit(
    of_key text, of_kind text, of_size integer, of_span interval
) RETURNS workshed.limits
    LANGUAGE plpgsql
AS $$
DECLARE
    l workshed.limits;
BEGIN
    SELECT * INTO l FROM workshed.limits AS o WHERE o.key = of_key FOR UPDATE;
    IF NOT FOUND OR (l.kind, l.size, l.span) IS DISTINCT FROM (of_kind, of_size, of_span) THEN
        INSERT INTO workshed.limits AS o (key, kind, size, span)
        VALUES (of_key, of_kind, of_size, of_span)
        ON CONFLICT (key) DO UPDATE
           SET kind = EXCLUDED.kind, size = EXCLUDED.size, span = EXCLUDED.span
        RETURNING * INTO l;
    END IF;
    RETURN l;
END
$$;

-- Return the earliest time at which a job with `ahead` jobs before it may start: `at` if now,
-- 'infinity' if that depends on the end of a running job. Times in the future come from a clock that was set back
-- since.
CREATE FUNCTION workshed.limit_next_opening(l workshed.limits, ahead bigint, at timestamptz)
    RETURNS timestamptz
    LANGUAGE plpgsql
AS $$
DECLARE
    first timestamptz;
BEGIN
    IF l.kind = 'concurrent' THEN
        IF ahead + (SELECT count(*) FROM workshed.limit_slots AS s
                     WHERE s.key = l.key AND s.expires_at > at) < l.size THEN
            RETURN at;
        END IF;
        RETURN 'infinity';
    ELSIF l.kind = 'bucket' THEN
        first := LEAST(GREATEST(l.idle_at, at), at + l.size * l.span);
        RETURN GREATEST(at, first + (ahead + 1 - l.size) * l.span);
    END IF;
    -- Each start opens a place again when it has left the window; those before take the first ones.
    SELECT s.at INTO first FROM workshed.limit_starts AS s
     WHERE s.key = l.key AND s.number = l.start_count - l.size + 1 + ahead % l.size;
    IF first IS NOT NULL THEN  -- else it was not full so far
        at := GREATEST(at, LEAST(first, at) + l.span);
    END IF;
    RETURN at + (ahead / l.size) * l.span;
END
$$;

-- Return how many jobs wait before a rank and seq, without those that did not take the slot they
-- were offered. Counts up to `most`.
CREATE FUNCTION workshed.count_waiters_ahead(
    of_key text, of_rank bigint, of_seq bigint, at timestamptz, kept interval, most integer
) RETURNS bigint
    LANGUAGE sql
BEGIN ATOMIC
    SELECT count(*)
      FROM (SELECT FROM workshed.limit_waiters AS w
             WHERE w.key = of_key AND (w.fair_rank, w.seq) < (of_rank, of_seq)
               AND (w.offered_at IS NULL OR w.offered_at > at - kept)
             LIMIT most) AS before;
END;

-- Return the rank of a job that arrives at a limit now. Without shares it is the order of arrival.
-- With shares it is one more than the last job of its share, or than the job that started last if
-- its share is not waiting: shares take turns, so that no share gets more by sending more.
CREATE FUNCTION workshed.arrival_rank(l workshed.limits, of_share text, of_seq bigint) RETURNS bigint
    LANGUAGE sql
BEGIN ATOMIC
    SELECT CASE of_share WHEN '' THEN of_seq ELSE 1 + GREATEST(l.fair_rank, (
               SELECT max(w.fair_rank) FROM workshed.limit_waiters AS w
                WHERE w.key = l.key AND w.share = of_share)) END;
END;

-- Return the job to start next when a slot of a concurrency limit is free: the first job of the
-- share that has the fewest slots. A share that is alone gets all of them, and several get the same
-- number each.
CREATE FUNCTION workshed.next_waiter(of_key text, at timestamptz, kept interval)
    RETURNS workshed.limit_waiters
    LANGUAGE sql
BEGIN ATOMIC
    WITH RECURSIVE shares (share) AS (
        (SELECT w.share FROM workshed.limit_waiters AS w
          WHERE w.key = of_key AND w.offered_at IS NULL ORDER BY w.share LIMIT 1)
        UNION ALL
        SELECT (SELECT w.share FROM workshed.limit_waiters AS w
                 WHERE w.key = of_key AND w.offered_at IS NULL AND w.share > s.share
                 ORDER BY w.share LIMIT 1)
          FROM shares AS s
         WHERE s.share IS NOT NULL
    )
    SELECT first.*
      FROM shares AS s
     CROSS JOIN LATERAL (
           SELECT w.* FROM workshed.limit_waiters AS w
            WHERE w.key = of_key AND w.offered_at IS NULL AND w.share = s.share
            ORDER BY w.seq LIMIT 1) AS first
     ORDER BY (SELECT count(*) FROM workshed.limit_slots AS o
                WHERE o.key = of_key AND o.share = s.share AND o.expires_at > at)
            + (SELECT count(*) FROM workshed.limit_waiters AS c
                WHERE c.key = of_key AND c.share = s.share AND c.offered_at > at - kept),
              first.seq
     LIMIT 1;
END;

-- Offer the free slots of a limit to the waiting jobs, in their order: their rows become due.
-- Returns how many, at most 100 at a time. Called by every transaction that frees a slot, and by
-- relays for what only time changes: expired leases, offers not taken, jobs cancelled while they
-- waited.
CREATE FUNCTION workshed.offer_slots(of_key text, kept interval) RETURNS integer
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    l workshed.limits;
    w workshed.limit_waiters;
    at timestamptz;
    opens timestamptz;
    ahead bigint;
    called integer := 0;
    last_rank bigint := -1;
    last_seq bigint := -1;
BEGIN
    SELECT * INTO l FROM workshed.limits WHERE key = of_key FOR UPDATE;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM workshed.limit_waiters AS c WHERE c.key = of_key) THEN
        RETURN 0;
    END IF;
    at := workshed.wall_clock();
    SELECT count(*) INTO ahead FROM workshed.limit_waiters AS c
     WHERE c.key = of_key AND c.offered_at > at - kept AND c.offered_at <= at;
    WHILE called < 100 LOOP
        opens := workshed.limit_next_opening(l, ahead, at);
        EXIT WHEN opens = 'infinity';
        IF l.kind = 'concurrent' THEN
            SELECT * INTO w
              FROM workshed.next_waiter(of_key, at, kept) AS n
             WHERE n.message_id IS NOT NULL;
        ELSE
            SELECT * INTO w FROM workshed.limit_waiters AS n
             WHERE n.key = of_key AND (n.offered_at > at) IS NOT FALSE
               AND (n.fair_rank, n.seq) > (last_rank, last_seq)
             ORDER BY n.fair_rank, n.seq
             LIMIT 1;
            last_rank := w.fair_rank;
            last_seq := w.seq;
        END IF;
        EXIT WHEN NOT FOUND;
        -- It was cancelled.
        IF EXISTS (SELECT FROM workshed.completed_generations AS s
                    WHERE s.message_id = w.message_id AND s.generation >= w.generation) THEN
            DELETE FROM workshed.limit_waiters AS g WHERE g.message_id = w.message_id;
            CONTINUE;
        END IF;
        EXIT WHEN w.offered_at <= opens;
        UPDATE workshed.limit_waiters AS g
           SET offered_at = opens,
               fair_rank = CASE l.kind WHEN 'concurrent' THEN 0 ELSE g.fair_rank END
         WHERE g.message_id = w.message_id;
        -- One that is not there is on its way already: somebody let it run now.
        UPDATE workshed.schedule AS s
           SET due_at = opens
         WHERE s.message_id = w.message_id AND s.generation = w.generation
           AND s.claimed_by IS NULL AND s.sent_at IS NULL AND s.due_at > opens;
        ahead := ahead + 1;
        called := called + 1;
    END LOOP;
    RETURN called;
END
$$;

-- Take a slot of each limit for one start of a job, or of none. Returns a limit that has no slot
-- now, or NULL if all were taken. These tables are empty one minute and large the next, before they
-- are analyzed, so that a cached plan must not be one for an empty table.
CREATE FUNCTION workshed.acquire_slots(
    keys text[], kinds text[], sizes integer[], spans interval[], shares text[],
    run uuid, id text, of_actor text, on_host text, with_pid integer, lease interval, kept interval
) RETURNS text
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    newcomer CONSTANT bigint := 9223372036854775807;
    locked workshed.limits[];
    l workshed.limits;
    w workshed.limit_waiters;
    at timestamptz;
    ahead bigint;
    ranks bigint[];
    mine bigint;
BEGIN
    FOR i IN 1 .. cardinality(keys) LOOP
        locked[i] := workshed.lock_limit(keys[i], kinds[i], sizes[i], spans[i]);
    END LOOP;
    at := workshed.wall_clock();
    IF 'concurrent' = ANY (kinds)
       AND EXISTS (SELECT FROM workshed.limit_slots AS s WHERE s.token = run) THEN
        RETURN NULL;  -- the answer to the first time was lost
    END IF;
    SELECT * INTO w FROM workshed.limit_waiters AS o WHERE o.message_id = id;
    FOR i IN 1 .. cardinality(keys) LOOP
        l := locked[i];
        IF EXISTS (SELECT FROM workshed.limit_waiters AS o WHERE o.key = keys[i]) THEN
            ranks[i] := CASE WHEN w.key = keys[i] THEN w.fair_rank
                             ELSE workshed.arrival_rank(l, shares[i], COALESCE(w.seq, newcomer)) END;
            ahead := workshed.count_waiters_ahead(
                keys[i], ranks[i], COALESCE(w.seq, newcomer), at, kept, l.size);
        ELSE
            ranks[i] := l.fair_rank + 1;
            ahead := 0;
        END IF;
        IF workshed.limit_next_opening(l, ahead, at) > at THEN
            RETURN keys[i];
        END IF;
    END LOOP;
    FOR i IN 1 .. cardinality(keys) LOOP
        CASE kinds[i]
            WHEN 'concurrent' THEN
                INSERT INTO workshed.limit_slots
                       (token, key, share, message_id, actor, host, pid, expires_at)
                VALUES (run, keys[i], shares[i], id, of_actor, on_host, with_pid, at + lease);
            WHEN 'bucket' THEN
                UPDATE workshed.limits AS o
                   SET idle_at = LEAST(GREATEST(o.idle_at, at), at + o.size * o.span) + o.span,
                       fair_rank = CASE shares[i] WHEN '' THEN 0
                                   ELSE GREATEST(o.fair_rank, ranks[i]) END
                 WHERE o.key = keys[i];
            ELSE
                UPDATE workshed.limits AS o
                   SET start_count = o.start_count + 1, idle_at = at + o.span,
                       fair_rank = CASE shares[i] WHEN '' THEN 0
                                   ELSE GREATEST(o.fair_rank, ranks[i]) END
                 WHERE o.key = keys[i]
                RETURNING o.start_count INTO mine;
                INSERT INTO workshed.limit_starts (key, number, at) VALUES (keys[i], mine, at);
                DELETE FROM workshed.limit_starts AS s
                 WHERE s.key = keys[i] AND s.number <= mine - sizes[i];
        END CASE;
    END LOOP;
    IF w.message_id IS NOT NULL THEN
        DELETE FROM workshed.limit_waiters AS o WHERE o.message_id = id;
    END IF;
    RETURN NULL;
END
$$;

-- Let a job wait for the limit that frees last. Returns that limit, and after how long to check
-- again: when its slot opens, or after `at_most` if that depends on the end of another job.
CREATE FUNCTION workshed.enqueue_waiter(
    keys text[], kinds text[], sizes integer[], spans interval[], shares text[],
    id text, next_generation integer, kept interval, at_most interval,
    OUT awaited text, OUT opens_in interval, OUT again_in interval
)
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    locked workshed.limits[];
    l workshed.limits;
    w workshed.limit_waiters;
    at timestamptz;
    opens timestamptz;
    last_opens timestamptz;
    own_rank bigint;
    last_rank bigint;
    last_share text;
    own_seq bigint;
BEGIN
    FOR i IN 1 .. cardinality(keys) LOOP
        locked[i] := workshed.lock_limit(keys[i], kinds[i], sizes[i], spans[i]);
    END LOOP;
    at := workshed.wall_clock();
    SELECT * INTO w FROM workshed.limit_waiters AS o WHERE o.message_id = id;
    own_seq := COALESCE(w.seq, nextval('workshed.limit_waiter_seq'));
    FOR i IN 1 .. cardinality(keys) LOOP
        l := locked[i];
        own_rank := CASE WHEN w.key = keys[i] THEN w.fair_rank
                         ELSE workshed.arrival_rank(l, shares[i], own_seq) END;
        -- Beyond 10 000 it is told a time that is too early, and waits again then.
        opens := workshed.limit_next_opening(l, workshed.count_waiters_ahead(
            keys[i], own_rank, own_seq, at, kept, 10000), at);
        IF last_opens IS NULL OR opens > last_opens THEN
            awaited := keys[i];
            last_opens := opens;
            last_rank := CASE WHEN l.kind = 'concurrent' AND opens = at THEN 0
                              -- It was called, and its slot was gone: it is the next one.
                              WHEN l.kind = 'concurrent' AND own_rank = 0
                              THEN workshed.arrival_rank(l, shares[i], own_seq)
                              ELSE own_rank END;
            last_share := shares[i];
        END IF;
    END LOOP;
    INSERT INTO workshed.limit_waiters
           (message_id, generation, key, share, seq, fair_rank, offered_at)
    VALUES (id, next_generation, awaited, last_share, own_seq, last_rank,
            NULLIF(last_opens, 'infinity'))
    ON CONFLICT (message_id) DO UPDATE
       SET generation = EXCLUDED.generation, key = EXCLUDED.key, share = EXCLUDED.share,
           fair_rank = EXCLUDED.fair_rank, offered_at = EXCLUDED.offered_at;
    IF w.key <> awaited AND w.key = ANY (keys) THEN
        PERFORM workshed.offer_slots(w.key, kept);  -- the slot that it was called for is another's
    END IF;
    opens_in := CASE WHEN last_opens < 'infinity' THEN last_opens - at END;
    again_in := COALESCE(opens_in, at_most);
END
$$;

-- Return what a run of a job took, and offer it to the jobs that wait; returns how many slots it
-- had. A job that has ended (`next_generation` is NULL) stops waiting; one that could not start for
-- another reason keeps its seq but not its slot. Without `lasting` the commit does not wait for
-- the disk: a slot that reappears after a crash of PostgreSQL is free when its lease expires.
CREATE FUNCTION workshed.release_slots(
    keys text[], run uuid, id text, next_generation integer, kept interval, lasting boolean
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
        PERFORM FROM workshed.limits AS l WHERE l.key = one FOR UPDATE;
    END LOOP;
    IF run IS NOT NULL THEN  -- it has started, so it has waited enough
        DELETE FROM workshed.limit_slots AS s WHERE s.token = run;
        GET DIAGNOSTICS had = ROW_COUNT;
    ELSIF next_generation IS NULL THEN
        DELETE FROM workshed.limit_waiters AS w WHERE w.message_id = id;
    ELSE
        UPDATE workshed.limit_waiters AS w
           SET generation = next_generation,
               offered_at = CASE WHEN w.offered_at <= workshed.wall_clock()
                                 THEN workshed.wall_clock() - kept
                                 ELSE w.offered_at END
         WHERE w.message_id = id;
    END IF;
    FOREACH one IN ARRAY keys LOOP
        PERFORM workshed.offer_slots(one, kept);
    END LOOP;
    RETURN had;
END
$$;


-- -------------------------------------------------------------------------------------------------
-- Periodic jobs
-- -------------------------------------------------------------------------------------------------

CREATE TABLE workshed.periodic_jobs (
    -- The name of its actor.
    name           text PRIMARY KEY,
    queue          text NOT NULL,
    kind           text NOT NULL,
    spec           text NOT NULL,
    zone           text NOT NULL,
    misfire_policy text NOT NULL,
    misfire_window interval NOT NULL,
    description    text NOT NULL,
    -- What each of its messages carries: tags, a unique key.
    options        jsonb NOT NULL CHECK (jsonb_typeof(options) = 'object'),
    -- The first time that is not decided yet. All times before it had a run, or were skipped on
    -- purpose.
    next_at        timestamptz NOT NULL,
    paused_at      timestamptz,
    declared_at    timestamptz NOT NULL DEFAULT workshed.now(),
    -- When a worker or clock that has its actor last said so, which they do every minute.
    seen_at        timestamptz NOT NULL DEFAULT workshed.now()
);

CREATE TABLE workshed.periodic_runs (
    job           text NOT NULL,
    scheduled_for timestamptz NOT NULL,
    message_id    text,
    -- The job that held its unique key, so that no job was sent.
    blocked_by    text,
    created_by    text NOT NULL CHECK (created_by IN ('clock', 'catch_up', 'manual')),
    created_at    timestamptz NOT NULL DEFAULT workshed.now(),
    -- However many clocks fire, and however their times differ, exactly one inserts the row.
    CONSTRAINT periodic_runs_key PRIMARY KEY (job, scheduled_for),
    CONSTRAINT periodic_runs_sent_or_blocked CHECK (num_nonnulls(message_id, blocked_by) = 1)
);

-- Maintenance deletes the oldest.
CREATE INDEX periodic_runs_by_time ON workshed.periodic_runs (scheduled_for);

-- Create one run of a periodic job unless it exists: its row and its message commit together. Waits
-- for a transaction that is creating the same run. Returns NULL if the run existed. SECURITY
-- DEFINER, so that a clock can create runs of what is in workshed.periodic_jobs, and send nothing
-- else.
CREATE FUNCTION workshed.create_periodic_run(of_job text, at timestamptz, by_whom text)
    RETURNS workshed.periodic_runs
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id text := gen_random_uuid();
    made workshed.periodic_runs;
    known workshed.periodic_jobs;
    options jsonb;
    winner text;
BEGIN
    INSERT INTO workshed.periodic_runs AS o (job, scheduled_for, message_id, created_by)
    VALUES (of_job, at, id, by_whom)
    ON CONFLICT ON CONSTRAINT periodic_runs_key DO NOTHING
    RETURNING * INTO made;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO STRICT known FROM workshed.periodic_jobs WHERE name = of_job;
    options := known.options || jsonb_build_object(
        'origin', 'cron', 'scheduled_for', floor(extract(epoch FROM at) * 1000));
    -- A clock may be a moment ahead of PostgreSQL's, by which a relay sends.
    at := GREATEST(at, workshed.now());
    IF NOT options ? 'unique_key' THEN
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        VALUES (id, 0, known.queue, of_job,
                workshed.envelope(id, of_job, '[]', '{}', known.queue, options),
                'transactional', at);
        RETURN made;
    END IF;
    winner := workshed.insert_with_key(
        id, 0, known.queue, of_job, workshed.envelope(id, of_job, '[]', '{}', known.queue, options),
        'transactional', at, options ->> 'unique_key',
        (options ->> 'unique_for')::bigint * interval '1 ms',
        COALESCE(options ->> 'on_conflict' = 'replace', false),
        CASE options ->> 'on_conflict' WHEN 'reschedule' THEN
            workshed.envelope(id, of_job, '[]', '{}', known.queue,
                              options || '{"awaiting_unique_key": true}')
        END,
        interval '5 s');
    IF winner <> id AND options ->> 'on_conflict' IS DISTINCT FROM 'reschedule' THEN
        UPDATE workshed.periodic_runs AS o
           SET message_id = NULL, blocked_by = winner
         WHERE o.job = of_job AND o.scheduled_for = made.scheduled_for
        RETURNING * INTO made;
    END IF;
    RETURN made;
END
$$;


-- -------------------------------------------------------------------------------------------------
-- History, for people to read. What must not be lost is in attempts and dead.
-- -------------------------------------------------------------------------------------------------

CREATE SEQUENCE workshed.runs_id;

-- Every run. A partition is a day of PostgreSQL's clock, so that no worker's clock decides what is
-- kept.
CREATE TABLE workshed.runs (
    id           bigint NOT NULL DEFAULT nextval('workshed.runs_id'),
    recorded_at  timestamptz NOT NULL DEFAULT workshed.now(),
    message_id   text NOT NULL,
    generation   integer NOT NULL,
    attempt      integer NOT NULL,
    queue        text NOT NULL,
    actor        text NOT NULL,
    outcome      text NOT NULL CHECK (outcome IN (
        'succeeded', 'retry', 'snoozed', 'interrupted', 'unknown_actor', 'discarded', 'cancelled',
        'skipped', 'dead', 'expired', 'poison', 'duplicate')),
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
    queue_wait_s double precision,
    duration_s   double precision,
    retry_in_s   double precision,
    worker       text NOT NULL,
    parent       text,
    origin       text NOT NULL,
    trace        text,
    tags         text[] NOT NULL DEFAULT '{}',
    release      text NOT NULL,
    -- By name in their order, with secret ones hidden. NULL if they were too large, or erased.
    arguments    json
) PARTITION BY RANGE (recorded_at);

CREATE INDEX runs_by_time ON workshed.runs (recorded_at, id);
CREATE INDEX runs_of_message ON workshed.runs (message_id);
CREATE INDEX runs_of_actor ON workshed.runs (actor, recorded_at);

-- Failures are few, and are what people look for.
CREATE INDEX runs_not_succeeded ON workshed.runs (recorded_at, id) WHERE outcome <> 'succeeded';

-- The latest jobs that a job has sent, which may be a hundred thousand.
CREATE INDEX runs_of_parent ON workshed.runs (parent, recorded_at) WHERE parent IS NOT NULL;

-- How many runs a worker could not record, because PostgreSQL was too slow or away.
CREATE TABLE workshed.runs_dropped (
    recorded_at timestamptz NOT NULL DEFAULT workshed.now(),
    worker      text NOT NULL,
    runs        bigint NOT NULL CHECK (runs > 0)
);

-- Maintenance deletes the oldest.
CREATE INDEX runs_dropped_by_time ON workshed.runs_dropped (recorded_at);

-- Create the partitions of today and the two days after it. SECURITY DEFINER, so that a role that
-- records runs needs no right to create tables. Attached instead of created in place, which would
-- block readers.
CREATE FUNCTION workshed.add_runs_partitions() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    day date;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('workshed.runs', 6));
    FOR day IN SELECT workshed.now()::date + n FROM generate_series(0, 2) AS n LOOP
        name := 'runs_' || to_char(day, 'YYYY_MM_DD');
        CONTINUE WHEN to_regclass('workshed.' || name) IS NOT NULL;
        EXECUTE format('CREATE TABLE workshed.%I (LIKE workshed.runs INCLUDING DEFAULTS '
                       'INCLUDING CONSTRAINTS)', name);
        EXECUTE format('ALTER TABLE workshed.runs ATTACH PARTITION workshed.%I '
                       'FOR VALUES FROM (%L) TO (%L)',
                       name, day, day + 1);
    END LOOP;
END
$$;

-- Drop the partitions that end before a time; return how many. Waits for a reader at most
-- `lock_timeout`, because other readers would queue behind it.
CREATE FUNCTION workshed.drop_runs_partitions(before timestamptz) RETURNS integer
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
         WHERE i.inhparent = 'workshed.runs'::regclass
           AND to_date(c.relname, '"runs_"YYYY_MM_DD') + 1 <= before
         ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE workshed.%I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

REVOKE EXECUTE ON FUNCTION workshed.drop_runs_partitions FROM PUBLIC;

SELECT workshed.add_runs_partitions();


-- -------------------------------------------------------------------------------------------------
-- Results and counters
-- -------------------------------------------------------------------------------------------------

-- What jobs return.
CREATE TABLE workshed.results (
    key        text PRIMARY KEY,
    -- As the program's encoder wrote it.
    body       bytea NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Maintenance deletes those that have expired.
CREATE INDEX results_expired ON workshed.results (expires_at);

-- The counters of dramatiq's rate limiters and barriers, and of logins. An expired counter is 0.
CREATE TABLE workshed.counters (
    key        text PRIMARY KEY,
    value      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Maintenance deletes those that have expired.
CREATE INDEX counters_expired ON workshed.counters (expires_at);


-- -------------------------------------------------------------------------------------------------
-- Who may send what
-- -------------------------------------------------------------------------------------------------

-- A role listed here, and every member of it, may send only the actors of all its listed roles;
-- `'{}'` is none. A role that is not listed is not restricted.
CREATE TABLE workshed.sender_grants (
    role           text PRIMARY KEY,
    allowed_actors text[] NOT NULL
);

-- Return the actors that the session may send, or NULL if it is not restricted. Decided by the role
-- that logged in, which no function and no SET ROLE changes.
CREATE FUNCTION workshed.sendable_actors() RETURNS text[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found text[];
BEGIN
    IF NOT EXISTS (SELECT FROM workshed.sender_grants) THEN
        RETURN NULL;
    END IF;
    SELECT CASE WHEN count(*) > 0
                THEN COALESCE(array_agg(a.actor) FILTER (WHERE a.actor IS NOT NULL), '{}') END
      INTO found
      FROM workshed.sender_grants AS s
      JOIN pg_roles AS r ON r.rolname = s.role
      LEFT JOIN LATERAL unnest(s.allowed_actors) AS a (actor) ON true
     WHERE pg_has_role(session_user, r.oid, 'USAGE')
       AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user);
    RETURN found;
END
$$;

-- Return why such a session may not store a message, or NULL. The body decides, because that is
-- what travels: another actor could hide there, and in options that carry messages.
CREATE FUNCTION workshed.sender_problem(wanted workshed.schedule, may text[]) RETURNS text
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
    ELSIF wanted.generation <> 0 OR wanted.possible_duplicate
          OR wanted.reason NOT IN ('transactional', 'delayed')
          OR wanted.claimed_by IS NOT NULL OR wanted.sent_at IS NOT NULL THEN
        RETURN 'stores what is no new message';
    END IF;
    SELECT name INTO odd
      FROM jsonb_object_keys(message -> 'options') AS name
     WHERE name NOT IN (
        'origin', 'due', 'expires', 'parent', 'trace', 'tags', 'unique_key', 'unique_for', 'on_conflict',
        'awaiting_unique_key', 'broker_priority', 'max_retries', 'min_backoff', 'max_backoff', 'time_limit',
        'store_results', 'result_ttl', 'awaited')
     LIMIT 1;
    IF FOUND THEN
        RETURN format('may not send with the option %s', odd);
    ELSIF NOT starts_with(COALESCE(message #>> '{options,unique_key}', wanted.actor || ':'),
                          wanted.actor || ':') THEN
        RETURN format('takes only keys that begin with %s:', wanted.actor);
    END IF;
    RETURN NULL;
END
$$;

-- A trigger instead of row-level security: it also sees what SECURITY DEFINER functions store, and
-- can give the reason.
CREATE FUNCTION workshed.assert_sender() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    may CONSTANT text[] := workshed.sendable_actors();
    problem text;
BEGIN
    IF may IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT workshed.sender_problem(s.*::workshed.schedule, may) INTO problem
      FROM stored AS s
     WHERE workshed.sender_problem(s.*::workshed.schedule, may) IS NOT NULL
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'role % %; workshed.sender_grants has what it may send', session_user, problem
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;

-- Once for each statement, however many rows it stores.
CREATE TRIGGER assert_sender
    AFTER INSERT ON workshed.schedule
    REFERENCING NEW TABLE AS stored
    FOR EACH STATEMENT EXECUTE FUNCTION workshed.assert_sender();


-- -------------------------------------------------------------------------------------------------
-- Sending from SQL, in the caller's transaction:
--     SELECT workshed.send('send_invoice', '[7]', delay => '3 days');
-- -------------------------------------------------------------------------------------------------

-- Return whether Python reads a JSON number back exactly: an integer of 64 bits, or a number that a
-- double distinguishes from all others. Call it where `extra_float_digits` is 1.
CREATE FUNCTION workshed.is_exact_in_json(number numeric) RETURNS boolean
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
CREATE FUNCTION workshed.assert_arguments(actor text, args jsonb, kwargs jsonb) RETURNS void
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
     WHERE NOT workshed.is_exact_in_json(number::numeric)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: the number % does not survive JSON exactly; send it as a string',
            actor, left(inexact::text, 80) USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
END
$$;

-- Return whether a JSON value is a list of tags.
CREATE FUNCTION workshed.is_tag_list(tags jsonb) RETURNS boolean
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
CREATE FUNCTION workshed.option_problem(name text, value jsonb) RETURNS text
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
            IF workshed.is_tag_list(value) THEN
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
-- otherwise than its sender expects. Options that say where a job is in its life (`attempt`,
-- `generation`, …) are refused.
CREATE FUNCTION workshed.assert_options(actor text, options jsonb) RETURNS void
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
    SELECT workshed.option_problem(given.key, given.value) AS problem INTO wrong
      FROM jsonb_each(options) AS given
     WHERE workshed.option_problem(given.key, given.value) IS NOT NULL
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: %', actor, wrong.problem
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;

-- Return a message as it travels.
CREATE FUNCTION workshed.envelope(
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
        'message_timestamp', floor(extract(epoch FROM workshed.now()) * 1000)
    )::text;

-- Store a message together with its key; return the id of the message that holds the key then. A
-- message that does not get the key is not stored, or is stored for later as `waiting_body` if that
-- is given. SECURITY DEFINER, because acquiring a key reads and changes several tables and may end
-- the job that holds it. A restricted sender acquires only keys of its own actors.
CREATE FUNCTION workshed.insert_with_key(
    id text, at_generation integer, on_queue text, of_actor text, new_body text, why text,
    due timestamptz, wanted text, span interval, replacing boolean, waiting_body text, pause interval
) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    winner text;
BEGIN
    IF workshed.sendable_actors() IS NOT NULL AND NOT starts_with(wanted, of_actor || ':') THEN
        RAISE EXCEPTION 'role % takes only keys that begin with %:', session_user, of_actor
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- A key is held from now on, and for its span from when the job is due.
    winner := workshed.acquire_key(wanted, id, at_generation, of_actor, on_queue,
                            span + GREATEST(due - workshed.now(), interval '0'), replacing);
    IF winner = id THEN
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        VALUES (id, at_generation, on_queue, of_actor, new_body, why, due);
    ELSIF waiting_body IS NOT NULL THEN
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        VALUES (id, at_generation, on_queue, of_actor, waiting_body, 'delayed',
                GREATEST(due, workshed.now() + pause));
    END IF;
    RETURN winner;
END
$$;

-- Store a job in this transaction; a relay sends it once that has committed. With a unique key it
-- also acquires the key, and returns the id of the job that holds it if that is another. The due
-- time of a delayed job is in its message, because `expires` counts from it.
--
-- SECURITY DEFINER, so that an application in another language needs no right but this one: with
-- INSERT on workshed.schedule it could store messages that cannot be read, and with SELECT it could
-- read the arguments of every job. The owner's rights apply only to fixed statements whose values
-- are parameters, all names are qualified, and the search path is fixed with pg_temp last, so that
-- no object of the caller is found. Revoked from PUBLIC for the same reason: a role that may read
-- the schema to watch jobs must not be able to send them.
CREATE FUNCTION workshed.send(
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
    due timestamptz := COALESCE(at, workshed.now() + COALESCE(delay, interval '0'));
    why text := CASE WHEN delay IS NULL AND at IS NULL THEN 'transactional' ELSE 'delayed' END;
    known workshed.actors;
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
    PERFORM workshed.assert_arguments(actor, args, kwargs);
    PERFORM workshed.assert_options(actor, options);

    SELECT * INTO known FROM workshed.actors WHERE actors.name = send.actor;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no worker has declared an actor "%" in this database; correct the name, or start a worker that has it', actor
            USING ERRCODE = 'undefined_object';
    ELSIF known.has_key AND NOT options ? 'unique_key' THEN
        RAISE EXCEPTION '%: its jobs are unique, and their key is computed in Python; give it: options => {"unique_key": "…"}', actor
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    queue := COALESCE(queue, known.queue);
    IF NOT EXISTS (SELECT FROM workshed.queues WHERE queues.name = send.queue) THEN
        RAISE EXCEPTION '%: queue "%" is not declared; correct the name, or start a worker or relay of the program that declares it', actor, queue
            USING ERRCODE = 'undefined_object';
    END IF;

    options := options || '{"origin": "transaction"}' || CASE why
        WHEN 'transactional' THEN '{}'
        ELSE jsonb_build_object('due', floor(GREATEST(extract(epoch FROM due), 0) * 1000))
    END;
    IF NOT options ? 'unique_key' THEN
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        VALUES (id, 0, queue, actor,
                workshed.envelope(id, actor, args, kwargs, queue, options), why, due);
        RETURN id;
    END IF;
    winner := workshed.insert_with_key(
        id, 0, queue, actor, workshed.envelope(id, actor, args, kwargs, queue, options), why, due,
        options ->> 'unique_key',
        (options ->> 'unique_for')::bigint * interval '1 ms',
        COALESCE(options ->> 'on_conflict' = 'replace', false),
        CASE options ->> 'on_conflict' WHEN 'reschedule' THEN
            workshed.envelope(id, actor, args, kwargs, queue,
                              options || '{"awaiting_unique_key": true}')
        END,
        interval '5 s');
    IF winner <> id AND options ->> 'on_conflict' = 'raise' THEN
        RAISE EXCEPTION '%: job % has the key "%"', actor, winner, options ->> 'unique_key'
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN CASE options ->> 'on_conflict' WHEN 'reschedule' THEN id ELSE winner END;
END
$$;

COMMENT ON FUNCTION workshed.send IS
    'Store a job in this transaction; a relay sends it once that has committed. Returns its message id.';

-- PostgreSQL lets every role execute every function. A role sends with these.
REVOKE EXECUTE ON FUNCTION
    workshed.send, workshed.insert_with_key, workshed.create_periodic_run
    FROM PUBLIC;


-- -------------------------------------------------------------------------------------------------
-- The console
-- -------------------------------------------------------------------------------------------------

-- What operators did.
CREATE TABLE workshed.audit (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT workshed.now(),
    performed_by text NOT NULL,
    -- For example `dead.retry`; its targets, as ids or a filter; and how many were changed.
    action       text NOT NULL,
    details      jsonb NOT NULL,
    count        bigint NOT NULL CHECK (count >= 0),
    summary      text NOT NULL
);

-- Append-only: even a role that may write the table cannot change a row by mistake.
CREATE FUNCTION workshed.refuse_audit_change() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'workshed.audit is append-only: % is refused', TG_OP
          USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON workshed.audit
    FOR EACH STATEMENT EXECUTE FUNCTION workshed.refuse_audit_change();

-- Count a login attempt of `who`, unless there were `most` within the span. SECURITY DEFINER,
-- because the role of the console may not write to `counters`, which also has the limits and
-- barriers of jobs.
CREATE FUNCTION workshed.count_login(who text, most integer, span interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name CONSTANT text := 'console login ' || who;
    now_s CONSTANT bigint := floor(extract(epoch FROM workshed.now()));
    first_s CONSTANT bigint := now_s - ceil(extract(epoch FROM span));
    tries bigint;
BEGIN
    -- Of two at once both would be the last.
    PERFORM pg_advisory_xact_lock(hashtextextended('workshed.counters ' || name, 0));
    SELECT COALESCE(sum(c.value), 0) INTO tries
      FROM workshed.counters AS c
     WHERE c.key = ANY (ARRAY(SELECT name || '@' || s FROM generate_series(first_s, now_s) AS s))
       AND c.expires_at > workshed.now();
    IF tries >= most THEN
        RETURN false;
    END IF;
    INSERT INTO workshed.counters AS c (key, value, expires_at)
    VALUES (name || '@' || now_s, 1, workshed.now() + span)
        ON CONFLICT (key) DO UPDATE
       SET value = CASE WHEN c.expires_at > workshed.now() THEN c.value ELSE 0 END + 1,
           expires_at = excluded.expires_at;
    RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION workshed.count_login FROM PUBLIC;


-- -------------------------------------------------------------------------------------------------
-- Retention
-- -------------------------------------------------------------------------------------------------

-- When a relay last found nothing more to delete of each kind. `workshed doctor` warns if that is
-- long ago.
CREATE TABLE workshed.pruned (
    name    text PRIMARY KEY,
    done_at timestamptz NOT NULL DEFAULT workshed.now()
);

INSERT INTO workshed.pruned (name)
VALUES ('dead jobs'), ('attempts'), ('batches'), ('periodic jobs'), ('periodic runs'), ('history');
