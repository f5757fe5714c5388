-- Worker processes, and how far each queue is worked off: what is needed to tell the oldest waiting job.

CREATE TABLE jobs.workers (
    id         uuid PRIMARY KEY,
    host       text NOT NULL,
    pid        integer NOT NULL,
    threads    integer NOT NULL,
    busy       integer NOT NULL,
    release    text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT jobs.now(),
    beat_at    timestamptz NOT NULL DEFAULT jobs.now(),
    -- It was taken for dead, and what it held has gone back to its queues.
    lost_at    timestamptz,
    -- Those it consumes; the arrays below have one value for each.
    queues     text[] NOT NULL,
    -- When the oldest delivery was published that has not started there.
    waiting    timestamptz[] NOT NULL,
    -- The same of all that RabbitMQ delivers again should this process die, those that run included.
    held       timestamptz[] NOT NULL
);

ALTER TABLE jobs.queues
    -- No message waits on RabbitMQ that was published before: they are with workers, or done.
    ADD COLUMN passed_at timestamptz NOT NULL DEFAULT jobs.now(),
    -- When a delivery last went back to it. Of deliveries that came before, nothing follows any more.
    ADD COLUMN returned_at timestamptz;
