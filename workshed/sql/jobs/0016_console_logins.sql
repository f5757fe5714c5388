-- Tries to log in to the console are counted with the rights of the owner: who looks writes to no table, and
-- the limits and barriers of jobs, which are counted in the same one, are not the console's to change.

-- Count a try by `who`, unless there were `most` within the span.
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
