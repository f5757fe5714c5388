-- How many runs ended in each minute, for numbers that are right at any rate: the history itself has
-- too many rows to count them for each page.
--
-- A run is counted by the statement that writes it into `runs`, so that its row and its count commit
-- together: no count is lost or made twice by a crash, a late commit or another process. A relay then
-- moves the counts from `run_counts` into `run_minutes` and `run_totals`, each in one statement. So
-- every run is always in exactly one of the two places, and a query that adds both up is right at any
-- moment, with or without a relay.
--
-- Runs that were recorded before this migration are not counted. Those of workers of an earlier
-- release are, because PostgreSQL counts them. Runs that are not recorded are counted by workers.

-- Waits for the statements that write runs now, which are short, and blocks others meanwhile: they
-- are written in the background, and no job waits. Run `workshed migrate` again if it fails.
SET LOCAL lock_timeout = '10s';

-- Return the bucket of a time, 0 to 25, or NULL for NULL: below 1 ms, below 2 ms, and so on. Each is
-- twice as wide as the one before, and the last has everything from 4.7 hours on.
CREATE FUNCTION workshed.time_bucket(seconds double precision) RETURNS smallint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN width_bucket(seconds, '{
        0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
        8.192, 16.384, 32.768, 65.536, 131.072, 262.144, 524.288, 1048.576, 2097.152, 4194.304,
        8388.608, 16777.216}'::double precision[])::smallint;

-- Return a histogram: how many times are in each bucket, from the first to the last that has any.
CREATE FUNCTION workshed.make_histogram(buckets smallint[], counts bigint[]) RETURNS integer[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN COALESCE((
        SELECT array_agg(COALESCE(filled.count, 0) ORDER BY bucket)
          FROM generate_series(0, (SELECT max(one) FROM unnest(buckets) AS one)) AS bucket
          LEFT JOIN (SELECT pair.bucket, sum(pair.count)::integer AS count
                       FROM unnest(buckets, counts) AS pair (bucket, count)
                      GROUP BY pair.bucket) AS filled USING (bucket)), '{}');

CREATE FUNCTION workshed.add_histograms(one integer[], other integer[]) RETURNS integer[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(
        SELECT COALESCE(pair.a, 0) + COALESCE(pair.b, 0)
          FROM unnest(one, other) WITH ORDINALITY AS pair (a, b, bucket)
         ORDER BY pair.bucket);


-- Counts that no relay has moved yet. Rows are only inserted and deleted, so that workers wait neither
-- for one another nor for a relay.
CREATE TABLE workshed.run_counts (
    minute       timestamptz NOT NULL,
    actor        text NOT NULL,
    queue        text NOT NULL,
    release      text NOT NULL,
    outcome      text NOT NULL,
    count        integer NOT NULL,
    -- Of each of these runs: the bucket of the time in its actor, and of that in its queue; NULL if
    -- it is unknown.
    run_buckets  smallint[] NOT NULL,
    wait_buckets smallint[] NOT NULL
);

-- A page reads the time that it shows, however much there is while no relay runs.
CREATE INDEX run_counts_by_time ON workshed.run_counts (minute);

-- Runs by the minute in which they were recorded. Once a minute has 1 000 rows, a relay counts further
-- names as actor and queue `other`.
CREATE TABLE workshed.run_minutes (
    minute    timestamptz NOT NULL,
    actor     text NOT NULL,
    queue     text NOT NULL,
    release   text NOT NULL,
    outcome   text NOT NULL,
    count     integer NOT NULL,
    -- Times in the actor, and in the queue, by bucket.
    run_hist  integer[] NOT NULL,
    wait_hist integer[] NOT NULL,
    PRIMARY KEY (minute, actor, queue, release, outcome)
);

-- The same of all actors together, so that a page about a day reads a few thousand rows, however many
-- actors there are.
CREATE TABLE workshed.run_totals (
    minute    timestamptz NOT NULL,
    outcome   text NOT NULL,
    count     integer NOT NULL,
    run_hist  integer[] NOT NULL,
    wait_hist integer[] NOT NULL,
    PRIMARY KEY (minute, outcome)
);

-- Count the runs that a statement has recorded. SECURITY DEFINER, so that recording runs needs no
-- further right. Names are cut, because an index refuses rows of more than 2 700 bytes.
CREATE FUNCTION workshed.count_runs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO workshed.run_counts
    SELECT date_bin('1 minute', recorded_at, TIMESTAMPTZ '2000-01-01 00:00Z'),
           left(actor, 200), left(queue, 200), left(release, 200), outcome, count(*),
           array_agg(workshed.time_bucket(duration_s)),
           array_agg(workshed.time_bucket(queue_wait_s))
      FROM recorded
     GROUP BY 1, 2, 3, 4, 5;
    RETURN NULL;
END
$$;

REVOKE EXECUTE ON FUNCTION workshed.count_runs FROM PUBLIC;

CREATE TRIGGER runs_are_counted
    AFTER INSERT ON workshed.runs REFERENCING NEW TABLE AS recorded
    FOR EACH STATEMENT EXECUTE FUNCTION workshed.count_runs();

-- Count runs of this minute that are not recorded (`WORKSHED_HISTORY=failures`): an array of objects
-- with actor, queue, outcome, run_bucket, wait_bucket and count. SECURITY DEFINER, so that a worker
-- can only add to the counts.
CREATE FUNCTION workshed.count_unrecorded_runs(of_release text, counts jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO workshed.run_counts
    SELECT date_bin('1 minute', workshed.now(), TIMESTAMPTZ '2000-01-01 00:00Z'),
           left(actor, 200), left(queue, 200), left(of_release, 200), outcome, count(*),
           array_agg(run_bucket), array_agg(wait_bucket)
      FROM jsonb_to_recordset(counts)
        AS kind (actor text, queue text, outcome text, run_bucket smallint, wait_bucket smallint,
                 count integer)
     CROSS JOIN generate_series(1, kind.count)
     GROUP BY 2, 3, 5;
$$;

REVOKE EXECUTE ON FUNCTION workshed.count_unrecorded_runs FROM PUBLIC;

INSERT INTO workshed.pruned (name) VALUES ('run minutes');
