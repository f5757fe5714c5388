-- Who replaces the holder of a key whose job has ended, and which holds its key all the same until it
-- expires, takes it over; `take_key` tried to end that job for ever.
CREATE OR REPLACE FUNCTION jobs.take_key(
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
        -- Of a job that has ended or moved on meanwhile nothing else is left to end.
        DELETE FROM jobs.unique_locks AS l
         WHERE l.key = wanted AND l.message_id = holder.message_id AND l.hop = holder.hop;
    END LOOP;
END
$$;
