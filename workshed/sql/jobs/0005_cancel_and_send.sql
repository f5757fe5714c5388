-- Jobs that are cancelled while they run, rules for those only RabbitMQ holds, and what SQL sends with.

-- When a worker that runs it has told it so.
ALTER TABLE jobs.tombstones ADD COLUMN told_at timestamptz;

-- What no row names: every job that fits and was sent before, except those somebody wanted back since.
CREATE TABLE jobs.cancel_rules (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor       text,
    queue       text,
    tag         text,
    -- In the unit of a message's timestamp, so that SQL and Python compare the same.
    sent_before timestamptz NOT NULL CHECK (sent_before = date_trunc('milliseconds', sent_before)),
    made_at     timestamptz NOT NULL DEFAULT jobs.now(),
    CONSTRAINT cancel_rules_say_which CHECK (num_nonnulls(actor, queue, tag) > 0)
);

-- Whether a message was cancelled, asked before it is put back on its way. Waits for whoever
-- cancels it just now, who has not seen the row that follows: else that row stays, with its lock,
-- until it is due. Volatile, so that the second statement sees what the first has waited for.
CREATE FUNCTION jobs.was_cancelled(id text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(id, 6));
    RETURN EXISTS (SELECT FROM jobs.tombstones WHERE message_id = id);
END
$$;

-- The rule that a job falls under, if any.
CREATE FUNCTION jobs.cancelling_rule(actor text, queue text, tags text[], sent_ms bigint)
    RETURNS bigint LANGUAGE sql STABLE
    RETURN (
        SELECT min(r.id)
          FROM jobs.cancel_rules AS r
         WHERE (r.actor IS NULL OR r.actor = cancelling_rule.actor)
           AND (r.queue IS NULL OR r.queue = cancelling_rule.queue)
           AND (r.tag IS NULL OR r.tag = ANY (tags))
           AND r.sent_before > to_timestamp(sent_ms / 1000.0));

CREATE FUNCTION jobs.are_tags(tags jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    RETURN CASE jsonb_typeof(tags)
        WHEN 'array' THEN jsonb_array_length(tags) BETWEEN 1 AND 10 AND NOT EXISTS (
            SELECT FROM jsonb_array_elements(tags) AS tag (value)
             WHERE jsonb_typeof(value) <> 'string'
                OR octet_length(value #>> '{}') NOT BETWEEN 1 AND 100)
        ELSE false
    END;

-- Say what is wrong with an option to send with, or nothing (NULL).
CREATE FUNCTION jobs.option_problem(name text, value jsonb) RETURNS text
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
            IF jobs.are_tags(value) THEN
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

CREATE OR REPLACE FUNCTION jobs.refuse_options(actor text, options jsonb) RETURNS void
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
    SELECT jobs.option_problem(given.key, given.value) AS problem INTO wrong
      FROM jsonb_each(options) AS given
     WHERE jobs.option_problem(given.key, given.value) IS NOT NULL
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: %', actor, wrong.problem
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;

-- A message as it travels.
CREATE FUNCTION jobs.envelope(
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
        'message_timestamp', floor(extract(epoch FROM jobs.now()) * 1000)
    )::text;

-- As before, and with a key: it is taken in the same transaction, and while another job has it that
-- one's message id is returned, and nothing is stored. When a delayed job was due is in its message,
-- since `expires` counts from it.
CREATE OR REPLACE FUNCTION jobs.send(
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
    due timestamptz := COALESCE(at, jobs.now() + COALESCE(delay, interval '0'));
    why text := CASE WHEN delay IS NULL AND at IS NULL THEN 'send' ELSE 'delay' END;
    known jobs.actors;
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
    PERFORM jobs.refuse_arguments(actor, args, kwargs);
    PERFORM jobs.refuse_options(actor, options);

    SELECT * INTO known FROM jobs.actors WHERE actors.name = send.actor;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no worker has declared an actor "%" in this database; correct the name, or start a worker that has it', actor
            USING ERRCODE = 'undefined_object';
    ELSIF known.has_key AND NOT options ? 'unique_key' THEN
        RAISE EXCEPTION '%: its jobs are unique, and their key is computed in Python; give it: options => {"unique_key": "…"}', actor
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    queue := COALESCE(queue, known.queue);
    IF NOT EXISTS (SELECT FROM jobs.queues WHERE queues.name = send.queue) THEN
        RAISE EXCEPTION '%: queue "%" is not declared; correct the name, or start a worker or relay of the program that declares it', actor, queue
            USING ERRCODE = 'undefined_object';
    END IF;

    options := options || '{"origin": "transaction"}' || CASE why
        WHEN 'send' THEN '{}'
        ELSE jsonb_build_object('due', floor(GREATEST(extract(epoch FROM due), 0) * 1000))
    END;
    IF NOT options ? 'unique_key' THEN
        INSERT INTO jobs.schedule (message_id, hop, queue, actor, body, reason, due_at)
        VALUES (id, 0, queue, actor, jobs.envelope(id, actor, args, kwargs, queue, options), why, due);
        RETURN id;
    END IF;
    winner := jobs.store_with_key(
        id, 0, queue, actor, jobs.envelope(id, actor, args, kwargs, queue, options), why, due,
        options ->> 'unique_key',
        (options ->> 'unique_for')::bigint * interval '1 ms',
        COALESCE(options ->> 'on_conflict' = 'replace', false),
        CASE options ->> 'on_conflict' WHEN 'reschedule' THEN
            jobs.envelope(id, actor, args, kwargs, queue, options || '{"waits_for_key": true}')
        END,
        interval '5 s');
    IF winner <> id AND options ->> 'on_conflict' = 'raise' THEN
        RAISE EXCEPTION '%: job % has the key "%"', actor, winner, options ->> 'unique_key'
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN CASE options ->> 'on_conflict' WHEN 'reschedule' THEN id ELSE winner END;
END
$$;
