-- Senders that may send some actors only, and functions that spare roles the rights on whole tables.

-- A role that stands here sends these actors and no others, and so do the members of it, of all their roles
-- together; `'{}'` is none. Who does not stand here is not held to any.
CREATE TABLE jobs.senders (
    role   text PRIMARY KEY,
    actors text[] NOT NULL
);

-- The actors that the session may send; NULL where it is not held to any. Asked of who has logged in,
-- which no function and no SET ROLE changes.
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

-- Say why such a session may not store a message, or nothing. What is in the body counts, as that is what
-- travels: another actor may hide there, and in options that carry messages.
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

-- A trigger and not row-level security: it sees what functions with their owner's rights store, and says why.
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

-- As before, and with the rights of its owner: to take a key means to read and change five tables, and to
-- end the job that has it. A sender that is held to some actors takes theirs alone.
CREATE OR REPLACE FUNCTION jobs.store_with_key(
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

-- A clock makes runs of what is in jobs.recurring, and sends nothing else.
ALTER FUNCTION jobs.make_run(text, timestamptz, text) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

-- With these a role sends: PostgreSQL lets everybody execute every function.
REVOKE EXECUTE ON FUNCTION jobs.store_with_key, jobs.make_run FROM PUBLIC;
