-- The history of attempts, for people to read; what must not be lost is in jobs.attempts and jobs.dead.

-- What shows a job needs to know the names of its arguments, and which of them are secret.
ALTER TABLE jobs.actors
    ADD COLUMN parameters text[] NOT NULL DEFAULT '{}',
    ADD COLUMN redact     text[] NOT NULL DEFAULT '{}';

CREATE SEQUENCE jobs.runs_id;

-- A partition is a day of PostgreSQL's clock, so that no worker's clock decides what is kept.
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
    -- Seconds: in its queue and its worker's memory; in its actor; until it runs again.
    waited_s     double precision,
    took_s       double precision,
    again_s      double precision,
    worker       text NOT NULL,
    parent       text,
    origin       text NOT NULL,
    trace        text,
    tags         text[] NOT NULL DEFAULT '{}',
    release      text NOT NULL,
    -- By name in their order, the secret ones hidden; NULL where they were too large, or erased.
    arguments    json
) PARTITION BY RANGE (recorded_at);

CREATE INDEX runs_by_time ON jobs.runs (recorded_at, id);
CREATE INDEX runs_of_message ON jobs.runs (message_id);
CREATE INDEX runs_of_actor ON jobs.runs (actor, recorded_at);
-- Failures are few, and are what people look for.
CREATE INDEX runs_not_done ON jobs.runs (recorded_at, id) WHERE outcome <> 'done';
CREATE INDEX runs_of_parent ON jobs.runs (parent) WHERE parent IS NOT NULL;

-- Runs that a worker could not keep, since PostgreSQL took them too slowly or not at all.
CREATE TABLE jobs.runs_lost (
    recorded_at timestamptz NOT NULL DEFAULT jobs.now(),
    worker      text NOT NULL,
    runs        bigint NOT NULL CHECK (runs > 0)
);

CREATE INDEX runs_lost_by_time ON jobs.runs_lost (recorded_at);

-- Make the partitions of today and the two days after it. SECURITY DEFINER, because who writes runs
-- should need no right to make tables; attached and not made in place, which would lock out readers.
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

-- Drop the partitions that end before an instant; return how many. Waits for no reader for longer
-- than `lock_timeout`: everybody else would wait behind it.
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
