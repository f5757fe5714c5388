-- One job alive per key, whichever way it is sent; and one running per key, by a lease.

ALTER TABLE jobs.actors ADD COLUMN has_key boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN jobs.actors.has_key IS
    'Its key is computed from its arguments, in Python: who sends by SQL has to give it.';

-- The right to run, of jobs of which one runs at a time. Renewed by the process that runs it.
CREATE TABLE jobs.run_locks (
    key        text PRIMARY KEY,
    -- New with each start: a process that was stopped for longer than its lease finds another one.
    token      uuid NOT NULL,
    message_id text NOT NULL,
    hop        integer NOT NULL,
    actor      text NOT NULL,
    queue      text NOT NULL,
    host       text NOT NULL,
    pid        integer NOT NULL,
    held_at    timestamptz NOT NULL DEFAULT jobs.now(),
    expires_at timestamptz NOT NULL
);

-- End a job that holds a key, so that another may have it: whoever runs it now, or gets it later,
-- finds its outcome written.
CREATE FUNCTION jobs.replace_holder(holder jobs.unique_locks, replacement text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    -- First, as whoever settles does: in the other order two of them wait for each other.
    INSERT INTO jobs.settled AS s (message_id, hop) VALUES (holder.message_id, holder.hop)
    ON CONFLICT (message_id) DO UPDATE SET hop = EXCLUDED.hop, settled_at = jobs.now()
     WHERE s.hop < EXCLUDED.hop;
    IF NOT FOUND THEN
        RETURN;  -- it has come to an outcome, and has freed the key or moved on
    END IF;
    DELETE FROM jobs.starts AS s WHERE s.message_id = holder.message_id;
    DELETE FROM jobs.schedule AS s WHERE s.message_id = holder.message_id AND s.hop <= holder.hop;
    DELETE FROM jobs.unique_locks AS l
     WHERE l.message_id = holder.message_id AND l.hop <= holder.hop;
    INSERT INTO jobs.attempts (message_id, hop, attempt, queue, actor, outcome, reason)
    VALUES (holder.message_id, holder.hop, 0, holder.queue, holder.actor, 'discarded',
            'replaced by ' || replacement);
END
$$;

-- Take a key unless another message has it; return the id of the message that has it then. An
-- expired lock is taken over. Waits for a transaction that is about to take or free the key.
CREATE FUNCTION jobs.take_key(
    wanted text, id text, at_hop integer, of_actor text, on_queue text, span interval, replacing boolean
) RETURNS text
    LANGUAGE plpgsql
AS $$
DECLARE
    holder jobs.unique_locks;
BEGIN
    LOOP
        INSERT INTO jobs.unique_locks AS l (key, message_id, hop, actor, queue, expires_at)
        VALUES (wanted, id, at_hop, of_actor, on_queue, jobs.now() + span)
        ON CONFLICT ON CONSTRAINT unique_locks_pkey DO UPDATE
           SET message_id = EXCLUDED.message_id, hop = EXCLUDED.hop, actor = EXCLUDED.actor,
               queue = EXCLUDED.queue, held_at = jobs.now(), expires_at = EXCLUDED.expires_at
         WHERE l.expires_at <= jobs.now() OR l.message_id = EXCLUDED.message_id;
        IF FOUND THEN
            RETURN id;
        END IF;
        SELECT * INTO holder FROM jobs.unique_locks AS l WHERE l.key = wanted;
        CONTINUE WHEN NOT FOUND;  -- freed in between
        IF NOT replacing THEN
            RETURN holder.message_id;
        END IF;
        PERFORM jobs.replace_holder(holder, id);
    END LOOP;
END
$$;

-- Store a message together with its key; return the id of the message that has the key then. One
-- that does not get it is not stored, or later and as `waiting_body`, if there is one.
CREATE FUNCTION jobs.store_with_key(
    id text, at_hop integer, on_queue text, of_actor text, new_body text, why text, due timestamptz,
    wanted text, span interval, replacing boolean, waiting_body text, pause interval
) RETURNS text
    LANGUAGE plpgsql
AS $$
DECLARE
    -- A key is held from now on, and for its span from when the job is due.
    winner text := jobs.take_key(wanted, id, at_hop, of_actor, on_queue,
                                 span + GREATEST(due - jobs.now(), interval '0'), replacing);
BEGIN
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
        ELSE
            RETURN name || ' is not an option to send with; these are: broker_priority, max_backoff, '
                   'max_retries, min_backoff, on_conflict, time_limit, unique_for, unique_key';
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
-- one's message id is returned, and nothing is stored.
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

    options := options || '{"origin": "transaction"}';
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
