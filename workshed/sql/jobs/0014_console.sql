-- What operators did by the console, and what it shows beside that.

CREATE TABLE jobs.audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT jobs.now(),
    who    text NOT NULL,
    -- What was done, e.g. `dead.retry`; to what, by ids or by a filter; how many have changed.
    action text NOT NULL,
    about  jsonb NOT NULL,
    count  bigint NOT NULL CHECK (count >= 0),
    said   text NOT NULL
);

-- Written once: not even who may write the table can change what stands there by mistake.
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

ALTER TABLE jobs.workers
    -- Its jobs as of its last beat: an array of objects with message_id, actor, queue and since.
    ADD COLUMN running      jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN memory_bytes bigint,
    -- Somebody wants it to start nothing more.
    ADD COLUMN quiet_at     timestamptz;

ALTER TABLE jobs.dead
    -- Where in its program it failed, `file.py:12 in function`; groups of the dead are told apart by it.
    ADD COLUMN place   text,
    -- Of the worker it died in.
    ADD COLUMN release text;

-- The latest jobs that a job has sent, of which there may be a hundred thousand.
DROP INDEX jobs.runs_of_parent;
CREATE INDEX runs_of_parent ON jobs.runs (parent, recorded_at) WHERE parent IS NOT NULL;

-- Names of classes are short; one that somebody has made up must fit into the index as well.
UPDATE jobs.dead SET error_class = left(error_class, 200) WHERE length(error_class) > 200;

-- Groups are counted without the bodies, which are a hundred times as large.
CREATE INDEX dead_by_group ON jobs.dead (error_class, actor, place, died_at) INCLUDE (queue);
