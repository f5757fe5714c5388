-- -------------------------------------------------------------------------------------------------
-- Workers that take their jobs from the schedule, without RabbitMQ
-- -------------------------------------------------------------------------------------------------

-- Waits for transactions of applications that have sent a job, and blocks new sends meanwhile, also
-- while it builds the index: 3 s for a million waiting jobs. Run `workshed migrate` again if it fails.
SET LOCAL lock_timeout = '5s';

-- The priority of its message: such workers take greater ones first.
ALTER TABLE workshed.schedule ADD COLUMN priority smallint NOT NULL DEFAULT 0;

-- Set the priority of a row from its message. A trigger, because rows come from many functions, from
-- senders without rights on this column, and from programs of an earlier release. It is called for
-- few rows: most messages have no priority.
CREATE FUNCTION workshed.set_priority() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.priority := COALESCE(NEW.body::json #>> '{options,broker_priority}', '0');
    RETURN NEW;
EXCEPTION WHEN data_exception THEN  -- unreadable, which its worker stores as dead
    RETURN NEW;
END
$$;

CREATE TRIGGER schedule_priority
    BEFORE INSERT ON workshed.schedule
    FOR EACH ROW WHEN (position('"broker_priority"' IN NEW.body) > 0)
    EXECUTE FUNCTION workshed.set_priority();

-- A worker reads the next due rows of a queue, one priority after the other.
CREATE INDEX schedule_ready ON workshed.schedule (queue, priority, due_at)
    WHERE claimed_by IS NULL AND sent_at IS NULL;

-- Vacuumed by count: a share of a table that has a million delayed jobs would be long in coming, and
-- each job that runs leaves dead rows.
ALTER TABLE workshed.schedule SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);
