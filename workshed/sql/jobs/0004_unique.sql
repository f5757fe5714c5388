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
