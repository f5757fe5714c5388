-- -------------------------------------------------------------------------------------------------
-- Arguments with types
-- -------------------------------------------------------------------------------------------------

-- Waits for transactions of applications that have called `workshed.send`, and blocks new calls
-- meanwhile. Run `workshed migrate` again if it fails.
SET LOCAL lock_timeout = '5s';

-- Names, places, presence and JSON types of its arguments, as a worker has declared them.
ALTER TABLE workshed.actors ADD COLUMN arguments jsonb;

-- When it did so. If it differs from `seen_at`, a worker of an older release, which declares no
-- arguments, has started since, for example after a rollback. Then `workshed.send` checks none.
ALTER TABLE workshed.actors ADD COLUMN arguments_seen_at timestamptz;

-- The version of these arguments. Those of another version are not checked: a worker upgrades older
-- ones, and newer ones wait for a worker that knows them.
ALTER TABLE workshed.actors ADD COLUMN arguments_version integer NOT NULL DEFAULT 1
    CONSTRAINT actors_arguments_version CHECK (arguments_version > 0);

-- Return whether a JSON value has one of these types; whole numbers are `integer` or `number`.
CREATE FUNCTION workshed.has_json_type(value jsonb, types jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    RETURN types ? jsonb_typeof(value)
        OR CASE WHEN jsonb_typeof(value) = 'number'
                THEN types ? 'integer' AND scale(value::numeric) = 0 ELSE false END;

-- Return the arguments of an actor for an error: `order (object), note (string or null, optional)`.
CREATE FUNCTION workshed.format_arguments(arguments jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    RETURN COALESCE((
        SELECT string_agg(
            concat(one.value ->> 'name', ' (' || NULLIF(concat_ws(', ',
                (SELECT string_agg(kind, ' or ') FROM jsonb_array_elements_text(one.value -> 'types') AS kind),
                CASE one.value ->> 'by' WHEN 'name' THEN 'by name' WHEN 'place' THEN 'by position' END,
                CASE WHEN NOT (one.value ->> 'required')::boolean THEN 'optional' END), '') || ')'),
            ', ' ORDER BY one.place)
          FROM jsonb_array_elements(arguments -> 'parameters') WITH ORDINALITY AS one (value, place)),
        'no arguments');

-- Return what is wrong with the arguments of a job, or NULL, as for an actor whose arguments are
-- unknown. No value is quoted, because it may be secret.
CREATE FUNCTION workshed.argument_problem(arguments jsonb, args jsonb, kwargs jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parameter jsonb;
    place integer;
    by_place boolean;
    by_name boolean;
    value jsonb;
    names text[] := '{}';
    places integer := 0;
    name text;
BEGIN
    FOR parameter, place IN
        SELECT one.value, one.ordinality - 1
          FROM jsonb_array_elements(arguments -> 'parameters') WITH ORDINALITY AS one
         ORDER BY one.ordinality
    LOOP
        name := parameter ->> 'name';
        IF parameter ->> 'by' <> 'place' THEN
            names := names || name;
        END IF;
        IF parameter ->> 'by' <> 'name' THEN
            places := places + 1;
        END IF;
        by_place := parameter ->> 'by' <> 'name' AND place < jsonb_array_length(args);
        by_name := parameter ->> 'by' <> 'place' AND kwargs ? name;
        value := CASE WHEN by_place THEN args -> place WHEN by_name THEN kwargs -> name END;
        IF by_place AND by_name THEN
            RETURN format('argument %s is given twice', name);
        ELSIF value IS NULL AND (parameter ->> 'required')::boolean THEN
            RETURN format('argument %s is missing', name);
        ELSIF value IS NOT NULL AND parameter ? 'types'
              AND NOT workshed.has_json_type(value, parameter -> 'types') THEN
            RETURN format('argument %s is of type %s', name, jsonb_typeof(value));
        END IF;
    END LOOP;
    IF jsonb_array_length(args) > places AND NOT (arguments ->> 'more_places')::boolean THEN
        RETURN format('%s arguments are given by position, at most %s fit',
                      jsonb_array_length(args), places);
    END IF;
    SELECT given.key INTO name
      FROM jsonb_object_keys(kwargs) AS given (key)
     WHERE given.key <> ALL (names) AND NOT (arguments ->> 'more_names')::boolean
     ORDER BY 1
     LIMIT 1;
    IF FOUND THEN
        RETURN format('there is no argument %s', left(name, 80));
    END IF;
    RETURN NULL;
END
$$;

-- As before, with the option `arguments_version`.
CREATE OR REPLACE FUNCTION workshed.option_problem(name text, value jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    low bigint;
    high bigint;
    number numeric;
BEGIN
    SELECT known.low, known.high INTO low, high
      FROM (VALUES ('arguments_version', 1, 2147483647),
                   ('broker_priority', 0, 255),
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
            IF workshed.is_tag_list(value) THEN
                RETURN NULL;
            END IF;
            RETURN format('option %s must be a list of 1 to 10 strings of 1 to 100 bytes, not %s',
                          name, left(value::text, 80));
        ELSE
            RETURN name || ' is not an option to send with; these are: arguments_version, broker_priority, '
                   'expires, max_backoff, max_retries, min_backoff, on_conflict, tags, time_limit, unique_for, unique_key';
    END CASE;
END
$$;

-- As before, and it checks the arguments if it knows what the actor takes. SECURITY DEFINER, as
-- explained in 0001_baseline.sql.
CREATE OR REPLACE FUNCTION workshed.send(
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
    due timestamptz := COALESCE(at, workshed.now() + COALESCE(delay, interval '0'));
    why text := CASE WHEN delay IS NULL AND at IS NULL THEN 'transactional' ELSE 'delayed' END;
    known workshed.actors;
    winner text;
    wrong text;
BEGIN
    IF delay IS NOT NULL AND at IS NOT NULL THEN
        RAISE EXCEPTION '%: give delay or at, not both', actor
            USING ERRCODE = 'invalid_parameter_value';
    -- One row whose date Python cannot read, and no list of what waits can be read any more.
    ELSIF due NOT BETWEEN '0001-01-02 00:00Z' AND '9999-12-30 00:00Z' THEN
        RAISE EXCEPTION '%: due at %, which is no date that can be reached; give one of the years 1 to 9999',
            actor, due USING ERRCODE = 'datetime_field_overflow';
    END IF;
    PERFORM workshed.assert_arguments(actor, args, kwargs);
    PERFORM workshed.assert_options(actor, options);

    SELECT * INTO known FROM workshed.actors WHERE actors.name = send.actor;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no worker has declared an actor "%" in this database; correct the name, or start a worker that has it', actor
            USING ERRCODE = 'undefined_object';
    ELSIF known.has_key AND NOT options ? 'unique_key' THEN
        RAISE EXCEPTION '%: its jobs are unique, and their key is computed in Python; give it: options => {"unique_key": "…"}', actor
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF known.arguments_seen_at = known.seen_at
          AND COALESCE((options ->> 'arguments_version')::integer, 1) = known.arguments_version THEN
        wrong := workshed.argument_problem(known.arguments, args, kwargs);
        IF wrong IS NOT NULL THEN
            RAISE EXCEPTION '%: %; it takes %',
                actor, wrong, workshed.format_arguments(known.arguments)
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END IF;
    queue := COALESCE(queue, known.queue);
    IF NOT EXISTS (SELECT FROM workshed.queues WHERE queues.name = send.queue) THEN
        RAISE EXCEPTION '%: queue "%" is not declared; correct the name, or start a worker or relay of the program that declares it', actor, queue
            USING ERRCODE = 'undefined_object';
    END IF;

    options := options || '{"origin": "transaction"}' || CASE why
        WHEN 'transactional' THEN '{}'
        ELSE jsonb_build_object('due', floor(GREATEST(extract(epoch FROM due), 0) * 1000))
    END;
    IF NOT options ? 'unique_key' THEN
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        VALUES (id, 0, queue, actor,
                workshed.envelope(id, actor, args, kwargs, queue, options), why, due);
        RETURN id;
    END IF;
    winner := workshed.insert_with_key(
        id, 0, queue, actor, workshed.envelope(id, actor, args, kwargs, queue, options), why, due,
        options ->> 'unique_key',
        (options ->> 'unique_for')::bigint * interval '1 ms',
        COALESCE(options ->> 'on_conflict' = 'replace', false),
        CASE options ->> 'on_conflict' WHEN 'reschedule' THEN
            workshed.envelope(id, actor, args, kwargs, queue,
                              options || '{"awaiting_unique_key": true}')
        END,
        interval '5 s');
    IF winner <> id AND options ->> 'on_conflict' = 'raise' THEN
        RAISE EXCEPTION '%: job % has the key "%"', actor, winner, options ->> 'unique_key'
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN CASE options ->> 'on_conflict' WHEN 'reschedule' THEN id ELSE winner END;
END
$$;
