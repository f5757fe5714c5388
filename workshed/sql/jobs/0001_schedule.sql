-- What PostgreSQL remembers about jobs. Nothing is created outside this schema.
CREATE SCHEMA jobs;

CREATE TABLE jobs.migrations (
    stream     text NOT NULL,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, name)
);

-- The one clock that due times are compared with: no clock of a sender or a worker decides.
CREATE FUNCTION jobs.now() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN statement_timestamp();

-- Every message that is not on RabbitMQ yet: delays, retries, sends inside a transaction.
CREATE TABLE jobs.schedule (
    message_id text NOT NULL,
    -- How often the message was put back on its way. With it, the retry of a message may be stored
    -- before the relay's delete of the hop before it commits.
    hop        integer NOT NULL CHECK (hop >= 0),
    queue      text NOT NULL,
    actor      text NOT NULL,
    body       text NOT NULL,
    due_at     timestamptz NOT NULL,
    reason     text NOT NULL CHECK (reason IN ('send', 'delay', 'retry', 'snooze')),
    created_at timestamptz NOT NULL DEFAULT jobs.now(),
    taken_by   uuid,
    taken_at   timestamptz,
    CONSTRAINT schedule_key PRIMARY KEY (message_id, hop),
    CONSTRAINT schedule_taken CHECK ((taken_by IS NULL) = (taken_at IS NULL))
);

-- The relay asks for the next due rows that nobody has taken, in this order.
CREATE INDEX schedule_due ON jobs.schedule (due_at) WHERE taken_by IS NULL;

-- Rows in flight are at most a few windows; this finds those of a relay that died.
CREATE INDEX schedule_taken_by ON jobs.schedule (taken_by) WHERE taken_by IS NOT NULL;

-- A relay that has not beaten for 10 s has died: what it took may be taken again.
CREATE TABLE jobs.relays (
    id         uuid PRIMARY KEY,
    host       text NOT NULL,
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT jobs.now(),
    beat_at    timestamptz NOT NULL DEFAULT jobs.now()
);

-- The highest hop of a message whose outcome is written; a copy of it or of an earlier one is absorbed.
CREATE TABLE jobs.settled (
    message_id text PRIMARY KEY,
    hop        integer NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT jobs.now()
);

-- Each failed attempt and each discard, written in the transaction of its outcome.
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

-- Jobs that will not be tried again until somebody says so, and messages nobody could read.
CREATE TABLE jobs.dead (
    message_id  text PRIMARY KEY,
    hop         integer NOT NULL,
    attempt     integer NOT NULL,
    queue       text NOT NULL,
    actor       text,
    -- As it came: what could not be decoded need not be text.
    body        bytea NOT NULL,
    reason      text NOT NULL,
    error_class text,
    died_at     timestamptz NOT NULL DEFAULT jobs.now()
);

CREATE INDEX dead_by_time ON jobs.dead (died_at);
