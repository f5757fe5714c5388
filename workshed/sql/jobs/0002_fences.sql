-- What is needed to lose nothing and to repeat nothing: rows kept until an outcome, fences, flags.

ALTER TABLE jobs.schedule
    -- RabbitMQ may have a copy already: the next one says so, and its consumer asks the fence.
    ADD COLUMN again boolean NOT NULL DEFAULT false,
    -- Confirmed by a queue whose confirm is not on disk: kept until the outcome is stored.
    ADD COLUMN sent_at timestamptz,
    -- When its queue was first seen without a ready message after that: it is being worked on, or lost.
    ADD COLUMN absent_at timestamptz,
    ADD CONSTRAINT schedule_absent CHECK (absent_at IS NULL OR sent_at IS NOT NULL),
    DROP CONSTRAINT schedule_reason_check,
    ADD CONSTRAINT schedule_reason CHECK (reason IN (
        'send', 'delay', 'retry', 'snooze',
        'lease',     -- its sender publishes it, and the relay if that sender dies
        'stored',    -- RabbitMQ could not take it
        'refund',    -- interrupted by a shutdown
        'stranger',  -- no worker that got it knows its actor
        'redrive'    -- was dead
    ));

DROP INDEX jobs.schedule_due;
CREATE INDEX schedule_due ON jobs.schedule (due_at) WHERE taken_by IS NULL AND sent_at IS NULL;

-- In flight on classic queues: found by queue when it is seen empty.
CREATE INDEX schedule_kept ON jobs.schedule (queue, sent_at) WHERE sent_at IS NOT NULL;

-- Starts of redelivered jobs that have no outcome yet: who of them kills its worker.
CREATE TABLE jobs.starts (
    message_id text PRIMARY KEY,
    hop        integer NOT NULL,
    -- Alone in its process; only these count, since of many that ran side by side one may be the killer.
    alone      integer NOT NULL DEFAULT 0,
    host       text NOT NULL,
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT jobs.now()
);

-- Effects that happened: a key is written together with what it stands for.
CREATE TABLE jobs.once (
    scope      text NOT NULL,
    key        text NOT NULL,
    message_id text NOT NULL,
    done_at    timestamptz NOT NULL DEFAULT jobs.now(),
    CONSTRAINT once_key PRIMARY KEY (scope, key)
);

-- One job alive per key. Held by a hop of a message, so that a copy of an earlier one frees nothing.
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

-- Cancelled messages: a copy that is on its way, or comes back to it, is skipped when it starts.
CREATE TABLE jobs.tombstones (
    message_id   text PRIMARY KEY,
    cancelled_at timestamptz NOT NULL DEFAULT jobs.now(),
    -- Where it never reached RabbitMQ no worker has to hold it in memory.
    reached      boolean NOT NULL,
    -- Ids are given before they commit; a reader that remembers a snapshot's xmin misses none.
    xid          xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE INDEX tombstones_by_xid ON jobs.tombstones (xid) WHERE reached;

-- The queues that workers and relays have declared, and which of them are paused.
CREATE TABLE jobs.queues (
    name      text PRIMARY KEY,
    kind      text NOT NULL CHECK (kind IN ('quorum', 'classic')),
    paused_at timestamptz,
    seen_at   timestamptz NOT NULL DEFAULT jobs.now()
);

-- The actors that workers have declared: who sends by SQL names the actor only.
CREATE TABLE jobs.actors (
    name    text PRIMARY KEY,
    queue   text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT jobs.now()
);

-- Retention asks for the oldest; a fence is kept while its message has a row in schedule or dead.
CREATE INDEX settled_by_time ON jobs.settled (settled_at);
CREATE INDEX once_by_time ON jobs.once (done_at);
CREATE INDEX tombstones_by_time ON jobs.tombstones (cancelled_at);
