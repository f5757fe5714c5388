-- Send a job from anything that speaks SQL, in the caller's transaction:
--     SELECT jobs.send('send_invoice', '[7]', delay => '3 days');

-- Whether a number of JSON is still the same once Python has read it: a whole one of 64 bits, or
-- one that a double can tell from all others. Asked where `extra_float_digits` is 1.
CREATE FUNCTION jobs.survives_json(number numeric) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE
        -- What is written with a point is read as a double, and only that.
        WHEN scale(number) = 0 THEN number BETWEEN -9223372036854775808 AND 18446744073709551615
        WHEN number = 0 THEN true
        WHEN abs(number) NOT BETWEEN 5e-324 AND 1e308 THEN false  -- the cast would raise
        ELSE number::float8::text::numeric = number
    END;

-- Refuse what `actor.send` of Python would refuse, as far as SQL can know it; an argument that the
-- actor does not take is found when the job runs.
CREATE FUNCTION jobs.refuse_arguments(actor text, args jsonb, kwargs jsonb) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET extra_float_digits = 1  -- with less, the text of a double is rounded
AS $$
DECLARE
    size integer := octet_length(args::text) + octet_length(kwargs::text);
    inexact numeric;
BEGIN
    IF jsonb_typeof(args) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION '%: args must be a JSON array, not %; one argument is sent as [7]',
            actor, COALESCE(jsonb_typeof(args), 'NULL') USING ERRCODE = 'invalid_parameter_value';
    ELSIF jsonb_typeof(kwargs) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION '%: kwargs must be a JSON object, not %; arguments by name are sent as {"id": 7}',
            actor, COALESCE(jsonb_typeof(kwargs), 'NULL') USING ERRCODE = 'invalid_parameter_value';
    ELSIF size > 65536 THEN
        RAISE EXCEPTION '%: % bytes of arguments, at most 65536 are sent; store the data and send its id',
            actor, size USING ERRCODE = 'program_limit_exceeded';
    -- Python's encoder ends at 254, and a retry must be written there again.
    ELSIF jsonb_path_exists(jsonb_build_array(args, kwargs), 'strict $.**{201}') THEN
        RAISE EXCEPTION '%: arguments are nested in more than 200 levels; store the data and send its id',
            actor USING ERRCODE = 'program_limit_exceeded';
    END IF;
    SELECT number::numeric INTO inexact
      FROM jsonb_path_query(jsonb_build_array(args, kwargs),
                            'strict $.** ? (@.type() == "number")') AS number
     WHERE NOT jobs.survives_json(number::numeric)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: the number % does not survive JSON exactly; send it as a string',
            actor, left(inexact::text, 80) USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
END
$$;

-- Refuse options that nothing understands: a misspelt one that is ignored is a job that runs
-- otherwise. Where a job is in its life (`attempt`, `hop`, …) is not the sender's to say.
CREATE FUNCTION jobs.refuse_options(actor text, options jsonb) RETURNS void
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
    SELECT given.key, given.value, known.low, known.high INTO wrong
      FROM jsonb_each(options) AS given
      LEFT JOIN (VALUES ('broker_priority', 0, 255),
                        ('max_backoff', 0, 2147483647),
                        ('max_retries', 0, 2147483647),
                        ('min_backoff', 0, 2147483647),
                        ('time_limit', 1, 2147483647)) AS known (name, low, high)
        ON known.name = given.key
     WHERE known.name IS NULL
        OR CASE jsonb_typeof(given.value)
               WHEN 'number' THEN scale(given.value::numeric) > 0
                   OR given.value::numeric NOT BETWEEN known.low AND known.high
               ELSE true
           END
     LIMIT 1;
    IF FOUND AND wrong.low IS NULL THEN
        RAISE EXCEPTION '%: % is not an option to send with; these are: broker_priority, max_backoff, max_retries, min_backoff, time_limit',
            actor, wrong.key USING ERRCODE = 'invalid_parameter_value';
    ELSIF FOUND THEN
        RAISE EXCEPTION '%: option % must be a whole number from % to %, not %',
            actor, wrong.key, wrong.low, wrong.high, left(wrong.value::text, 80)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;

-- SECURITY DEFINER, because an application in another language should hold no more than this
-- function: with INSERT on jobs.schedule it could store what nobody can read, and with SELECT read
-- the arguments of every job. What runs with the owner's rights are fixed statements whose values
-- are parameters, all names are qualified, and the search path is fixed with pg_temp last, so no
-- object of the caller is ever found. For the same reason it is taken from PUBLIC: whoever may read
-- the schema to watch jobs is not thereby allowed to send them.
CREATE FUNCTION jobs.send(
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
    own_queue text;
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

    SELECT actors.queue INTO own_queue FROM jobs.actors WHERE actors.name = send.actor;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no worker has declared an actor "%" in this database; correct the name, or start a worker that has it', actor
            USING ERRCODE = 'undefined_object';
    END IF;
    queue := COALESCE(queue, own_queue);
    IF NOT EXISTS (SELECT FROM jobs.queues WHERE queues.name = send.queue) THEN
        RAISE EXCEPTION '%: queue "%" is not declared; correct the name, or start a worker or relay of the program that declares it', actor, queue
            USING ERRCODE = 'undefined_object';
    END IF;

    INSERT INTO jobs.schedule (message_id, hop, queue, actor, body, reason, due_at)
    VALUES (
        id, 0, queue, actor,
        json_build_object(
            'queue_name', queue,
            'actor_name', actor,
            'args', args,
            'kwargs', kwargs,
            'options', options || '{"origin": "transaction"}',
            'message_id', id,
            'message_timestamp', floor(extract(epoch FROM jobs.now()) * 1000)
        ),
        CASE WHEN delay IS NULL AND at IS NULL THEN 'send' ELSE 'delay' END,
        due
    );
    RETURN id;
END
$$;

REVOKE EXECUTE ON FUNCTION jobs.send FROM PUBLIC;

COMMENT ON FUNCTION jobs.send IS
    'Store a job in this transaction; a relay sends it once that has committed. Returns its message id.';
