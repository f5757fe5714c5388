-- Limits: how many jobs run at a time, or start within a span, per key; and who waits for that.

-- As `jobs.now()`, and it goes on within a statement: what counts is the time after a wait for a lock.
CREATE FUNCTION jobs.moment() RETURNS timestamptz
    LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN clock_timestamp();

-- One row per key, locked by whoever takes of it, gives back to it or waits for it; who needs several
-- locks them in the order in which Python sorts their keys.
CREATE TABLE jobs.limits (
    key        text PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('concurrent', 'window', 'bucket')),
    -- At a time; within a span; at once, of a full bucket.
    size       integer NOT NULL CHECK (size > 0),
    -- The window; or until a bucket has one more.
    span       interval,
    -- Starts so far, of a window.
    starts     bigint NOT NULL DEFAULT 0,
    -- The rank of the job that started last, where shares wait side by side.
    rank       bigint NOT NULL DEFAULT 0,
    -- From then on it remembers nothing: the last start has left the window, or the bucket is full.
    busy_until timestamptz NOT NULL DEFAULT jobs.now(),
    CONSTRAINT limits_span CHECK ((kind = 'concurrent') = (span IS NULL))
) WITH (fillfactor = 70);  -- rewritten with each start; that stays in its page

-- Who runs now, of limits that count those. Leases, renewed by the process that runs it.
CREATE TABLE jobs.limit_slots (
    -- New with each start; the same for all limits of it.
    token      uuid NOT NULL,
    key        text NOT NULL,
    share      text NOT NULL,
    message_id text NOT NULL,
    actor      text NOT NULL,
    host       text NOT NULL,
    pid        integer NOT NULL,
    taken_at   timestamptz NOT NULL DEFAULT jobs.now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT limit_slots_key PRIMARY KEY (token, key)
);

CREATE INDEX limit_slots_of_key ON jobs.limit_slots (key, share);

-- The last starts of a window, as many as fit into it.
CREATE TABLE jobs.limit_starts (
    key    text NOT NULL,
    number bigint NOT NULL,
    at     timestamptz NOT NULL,
    CONSTRAINT limit_starts_key PRIMARY KEY (key, number)
);

CREATE SEQUENCE jobs.limit_tickets;

-- Jobs that were over a limit: each has a row of the schedule, or is on its way. It waits for one of
-- its limits at a time, the last to have a slot; all of them are asked when it comes.
CREATE TABLE jobs.limit_waits (
    message_id text PRIMARY KEY,
    hop        integer NOT NULL,
    key        text NOT NULL,
    share      text NOT NULL,
    -- In the order of arrival; kept until it starts, whichever limit it waits for.
    ticket     bigint NOT NULL,
    -- The ticket; or, among shares, how many of its share go before it, so that they take turns.
    rank       bigint NOT NULL,
    -- When a slot is its own: until a little later no other gets it. NULL while none is in sight.
    called_at  timestamptz,
    since      timestamptz NOT NULL DEFAULT jobs.now()
);

CREATE INDEX limit_waits_in_order ON jobs.limit_waits (key, rank, ticket);
-- Whoever gives a slot back looks for the first of each share.
CREATE INDEX limit_waits_uncalled ON jobs.limit_waits (key, share, ticket) WHERE called_at IS NULL;

-- Lock the row of a limit, and let it be as this release has it. Of several in their one order.
CREATE FUNCTION jobs.lock_limit(
    of_key text, of_kind text, of_size integer, of_span interval
) RETURNS jobs.limits
    LANGUAGE plpgsql
AS $$
DECLARE
    l jobs.limits;
BEGIN
    SELECT * INTO l FROM jobs.limits AS o WHERE o.key = of_key FOR UPDATE;
    IF NOT FOUND OR (l.kind, l.size, l.span) IS DISTINCT FROM (of_kind, of_size, of_span) THEN
        INSERT INTO jobs.limits AS o (key, kind, size, span) VALUES (of_key, of_kind, of_size, of_span)
        ON CONFLICT (key) DO UPDATE
           SET kind = EXCLUDED.kind, size = EXCLUDED.size, span = EXCLUDED.span
        RETURNING * INTO l;
    END IF;
    RETURN l;
END
$$;

-- When a job may start that has so many before it, at the earliest: `at` is now; 'infinity': when one
-- that runs has ended. What lies in the future was written by a clock that was put back since.
CREATE FUNCTION jobs.limit_opens(l jobs.limits, ahead bigint, at timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql
AS $$
DECLARE
    first timestamptz;
BEGIN
    IF l.kind = 'concurrent' THEN
        IF ahead + (SELECT count(*) FROM jobs.limit_slots AS s
                     WHERE s.key = l.key AND s.expires_at > at) < l.size THEN
            RETURN at;
        END IF;
        RETURN 'infinity';
    ELSIF l.kind = 'bucket' THEN
        first := LEAST(GREATEST(l.busy_until, at), at + l.size * l.span);
        RETURN GREATEST(at, first + (ahead + 1 - l.size) * l.span);
    END IF;
    -- Each start opens a place again when it has left the window; those before take the first ones.
    SELECT s.at INTO first FROM jobs.limit_starts AS s
     WHERE s.key = l.key AND s.number = l.starts - l.size + 1 + ahead % l.size;
    IF first IS NOT NULL THEN  -- else it was not full so far
        at := GREATEST(at, LEAST(first, at) + l.span);
    END IF;
    RETURN at + (ahead / l.size) * l.span;
END
$$;

-- How many wait before a rank and ticket, of those whose slot is kept for them; counted up to `most`.
CREATE FUNCTION jobs.limit_ahead(
    of_key text, of_rank bigint, of_ticket bigint, at timestamptz, kept interval, most integer
) RETURNS bigint
    LANGUAGE sql
BEGIN ATOMIC
    SELECT count(*)
      FROM (SELECT FROM jobs.limit_waits AS w
             WHERE w.key = of_key AND (w.rank, w.ticket) < (of_rank, of_ticket)
               AND (w.called_at IS NULL OR w.called_at > at - kept)
             LIMIT most) AS before;
END;

-- The rank of a job that comes to a limit now. Without shares it is the order of arrival. With them, one
-- behind the last of its share, and of a share that does not wait one behind who started last: the
-- first of all come first, then the second, so that none gets more by sending more.
CREATE FUNCTION jobs.limit_rank(l jobs.limits, of_share text, of_ticket bigint) RETURNS bigint
    LANGUAGE sql
BEGIN ATOMIC
    SELECT CASE of_share WHEN '' THEN of_ticket ELSE 1 + GREATEST(l.rank, (
               SELECT max(w.rank) FROM jobs.limit_waits AS w
                WHERE w.key = l.key AND w.share = of_share)) END;
END;

-- Who is called next of those who wait until another ends: of the share that has the fewest slots the
-- one that came first. So a share that is alone gets all of them, and others the same each.
CREATE FUNCTION jobs.limit_next(of_key text, at timestamptz, kept interval) RETURNS jobs.limit_waits
    LANGUAGE sql
BEGIN ATOMIC
    WITH RECURSIVE shares (share) AS (
        (SELECT w.share FROM jobs.limit_waits AS w
          WHERE w.key = of_key AND w.called_at IS NULL ORDER BY w.share LIMIT 1)
        UNION ALL
        SELECT (SELECT w.share FROM jobs.limit_waits AS w
                 WHERE w.key = of_key AND w.called_at IS NULL AND w.share > s.share
                 ORDER BY w.share LIMIT 1)
          FROM shares AS s
         WHERE s.share IS NOT NULL
    )
    SELECT first.*
      FROM shares AS s
     CROSS JOIN LATERAL (
           SELECT w.* FROM jobs.limit_waits AS w
            WHERE w.key = of_key AND w.called_at IS NULL AND w.share = s.share
            ORDER BY w.ticket LIMIT 1) AS first
     ORDER BY (SELECT count(*) FROM jobs.limit_slots AS o
                WHERE o.key = of_key AND o.share = s.share AND o.expires_at > at)
            + (SELECT count(*) FROM jobs.limit_waits AS c
                WHERE c.key = of_key AND c.share = s.share AND c.called_at > at - kept),
              first.ticket
     LIMIT 1;
END;

-- Give the free slots of a limit to those who wait, in their order: their rows are due then. Returns how
-- many, at most 100 at a time. Called by whoever frees a slot, and by relays, which see what only time
-- has changed: leases that ran out, slots nobody came for, jobs that were cancelled while they waited.
CREATE FUNCTION jobs.call_waiting(of_key text, kept interval) RETURNS integer
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    l jobs.limits;
    w jobs.limit_waits;
    at timestamptz;
    opens timestamptz;
    ahead bigint;
    called integer := 0;
    last_rank bigint := -1;
    last_ticket bigint := -1;
BEGIN
    SELECT * INTO l FROM jobs.limits WHERE key = of_key FOR UPDATE;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM jobs.limit_waits AS c WHERE c.key = of_key) THEN
        RETURN 0;
    END IF;
    at := jobs.moment();
    SELECT count(*) INTO ahead FROM jobs.limit_waits AS c
     WHERE c.key = of_key AND c.called_at > at - kept AND c.called_at <= at;
    WHILE called < 100 LOOP
        opens := jobs.limit_opens(l, ahead, at);
        EXIT WHEN opens = 'infinity';
        IF l.kind = 'concurrent' THEN
            SELECT * INTO w FROM jobs.limit_next(of_key, at, kept) AS n WHERE n.message_id IS NOT NULL;
        ELSE
            SELECT * INTO w FROM jobs.limit_waits AS n
             WHERE n.key = of_key AND (n.called_at > at) IS NOT FALSE
               AND (n.rank, n.ticket) > (last_rank, last_ticket)
             ORDER BY n.rank, n.ticket
             LIMIT 1;
            last_rank := w.rank;
            last_ticket := w.ticket;
        END IF;
        EXIT WHEN NOT FOUND;
        IF EXISTS (SELECT FROM jobs.settled AS s WHERE s.message_id = w.message_id AND s.hop >= w.hop) THEN
            DELETE FROM jobs.limit_waits AS g WHERE g.message_id = w.message_id;  -- it was cancelled
            CONTINUE;
        END IF;
        EXIT WHEN w.called_at <= opens;
        UPDATE jobs.limit_waits AS g
           SET called_at = opens, rank = CASE l.kind WHEN 'concurrent' THEN 0 ELSE g.rank END
         WHERE g.message_id = w.message_id;
        -- One that is not there is on its way already: somebody let it run now.
        UPDATE jobs.schedule AS s
           SET due_at = opens
         WHERE s.message_id = w.message_id AND s.hop = w.hop
           AND s.taken_by IS NULL AND s.sent_at IS NULL AND s.due_at > opens;
        ahead := ahead + 1;
        called := called + 1;
    END LOOP;
    RETURN called;
END
$$;

-- Take a slot of each limit for one start of a job, or of none. Returns a limit that has no slot now; NULL
-- where all are taken. These tables are empty one minute and large the next, before anybody analyzes
-- them: plans that are kept must not be those of an empty table.
CREATE FUNCTION jobs.take_limits(
    keys text[], kinds text[], sizes integer[], spans interval[], shares text[],
    run uuid, id text, of_actor text, on_host text, with_pid integer, lease interval, kept interval
) RETURNS text
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    newcomer CONSTANT bigint := 9223372036854775807;
    locked jobs.limits[];
    l jobs.limits;
    w jobs.limit_waits;
    at timestamptz;
    ahead bigint;
    ranks bigint[];
    mine bigint;
BEGIN
    FOR i IN 1 .. cardinality(keys) LOOP
        locked[i] := jobs.lock_limit(keys[i], kinds[i], sizes[i], spans[i]);
    END LOOP;
    at := jobs.moment();
    IF 'concurrent' = ANY (kinds) AND EXISTS (SELECT FROM jobs.limit_slots AS s WHERE s.token = run) THEN
        RETURN NULL;  -- the answer to the first time was lost
    END IF;
    SELECT * INTO w FROM jobs.limit_waits AS o WHERE o.message_id = id;
    FOR i IN 1 .. cardinality(keys) LOOP
        l := locked[i];
        IF EXISTS (SELECT FROM jobs.limit_waits AS o WHERE o.key = keys[i]) THEN
            ranks[i] := CASE WHEN w.key = keys[i] THEN w.rank
                             ELSE jobs.limit_rank(l, shares[i], COALESCE(w.ticket, newcomer)) END;
            ahead := jobs.limit_ahead(
                keys[i], ranks[i], COALESCE(w.ticket, newcomer), at, kept, l.size);
        ELSE
            ranks[i] := l.rank + 1;
            ahead := 0;
        END IF;
        IF jobs.limit_opens(l, ahead, at) > at THEN
            RETURN keys[i];
        END IF;
    END LOOP;
    FOR i IN 1 .. cardinality(keys) LOOP
        CASE kinds[i]
            WHEN 'concurrent' THEN
                INSERT INTO jobs.limit_slots (token, key, share, message_id, actor, host, pid, expires_at)
                VALUES (run, keys[i], shares[i], id, of_actor, on_host, with_pid, at + lease);
            WHEN 'bucket' THEN
                UPDATE jobs.limits AS o
                   SET busy_until = LEAST(GREATEST(o.busy_until, at), at + o.size * o.span) + o.span,
                       rank = CASE shares[i] WHEN '' THEN 0 ELSE GREATEST(o.rank, ranks[i]) END
                 WHERE o.key = keys[i];
            ELSE
                UPDATE jobs.limits AS o
                   SET starts = o.starts + 1, busy_until = at + o.span,
                       rank = CASE shares[i] WHEN '' THEN 0 ELSE GREATEST(o.rank, ranks[i]) END
                 WHERE o.key = keys[i]
                RETURNING o.starts INTO mine;
                INSERT INTO jobs.limit_starts (key, number, at) VALUES (keys[i], mine, at);
                DELETE FROM jobs.limit_starts AS s
                 WHERE s.key = keys[i] AND s.number <= mine - sizes[i];
        END CASE;
    END LOOP;
    IF w.message_id IS NOT NULL THEN
        DELETE FROM jobs.limit_waits AS o WHERE o.message_id = id;
    END IF;
    RETURN NULL;
END
$$;

-- Let a job wait for the limit whose slot it gets last. Returns which, and in how long to look again: when
-- it has its slot, or after `at_most` where only the end of another can tell.
CREATE FUNCTION jobs.wait_for_limits(
    keys text[], kinds text[], sizes integer[], spans interval[], shares text[],
    id text, next_hop integer, kept interval, at_most interval,
    OUT awaited text, OUT opens_in interval, OUT again_in interval
)
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    locked jobs.limits[];
    l jobs.limits;
    w jobs.limit_waits;
    at timestamptz;
    opens timestamptz;
    last_opens timestamptz;
    own_rank bigint;
    last_rank bigint;
    last_share text;
    own_ticket bigint;
BEGIN
    FOR i IN 1 .. cardinality(keys) LOOP
        locked[i] := jobs.lock_limit(keys[i], kinds[i], sizes[i], spans[i]);
    END LOOP;
    at := jobs.moment();
    SELECT * INTO w FROM jobs.limit_waits AS o WHERE o.message_id = id;
    own_ticket := COALESCE(w.ticket, nextval('jobs.limit_tickets'));
    FOR i IN 1 .. cardinality(keys) LOOP
        l := locked[i];
        own_rank := CASE WHEN w.key = keys[i] THEN w.rank
                         ELSE jobs.limit_rank(l, shares[i], own_ticket) END;
        -- Beyond 10 000 it is told a time that is too early, and waits again then.
        opens := jobs.limit_opens(l, jobs.limit_ahead(
            keys[i], own_rank, own_ticket, at, kept, 10000), at);
        IF last_opens IS NULL OR opens > last_opens THEN
            awaited := keys[i];
            last_opens := opens;
            last_rank := CASE WHEN l.kind = 'concurrent' AND opens = at THEN 0
                              -- It was called, and its slot was gone: it is the next one.
                              WHEN l.kind = 'concurrent' AND own_rank = 0
                              THEN jobs.limit_rank(l, shares[i], own_ticket)
                              ELSE own_rank END;
            last_share := shares[i];
        END IF;
    END LOOP;
    INSERT INTO jobs.limit_waits (message_id, hop, key, share, ticket, rank, called_at)
    VALUES (id, next_hop, awaited, last_share, own_ticket, last_rank, NULLIF(last_opens, 'infinity'))
    ON CONFLICT (message_id) DO UPDATE
       SET hop = EXCLUDED.hop, key = EXCLUDED.key, share = EXCLUDED.share, rank = EXCLUDED.rank,
           called_at = EXCLUDED.called_at;
    IF w.key <> awaited AND w.key = ANY (keys) THEN
        PERFORM jobs.call_waiting(w.key, kept);  -- the slot that it was called for is another's
    END IF;
    opens_in := CASE WHEN last_opens < 'infinity' THEN last_opens - at END;
    again_in := COALESCE(opens_in, at_most);
END
$$;

-- Give back what a run of a job has taken, and call who waits for it; return how many slots it had. A
-- job that has ended (`next_hop` is NULL) waits no more; one that could not start for another reason
-- keeps its ticket, and not its slot. Where nothing else is written it need not be on disk (`lasting`):
-- a slot that is back after a crash of PostgreSQL is free when its lease ends.
CREATE FUNCTION jobs.leave_limits(
    keys text[], run uuid, id text, next_hop integer, kept interval, lasting boolean
) RETURNS integer
    LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    had integer := 0;
    one text;
BEGIN
    IF NOT lasting THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    FOREACH one IN ARRAY keys LOOP
        PERFORM FROM jobs.limits AS l WHERE l.key = one FOR UPDATE;
    END LOOP;
    IF run IS NOT NULL THEN  -- it has started, so it has waited enough
        DELETE FROM jobs.limit_slots AS s WHERE s.token = run;
        GET DIAGNOSTICS had = ROW_COUNT;
    ELSIF next_hop IS NULL THEN
        DELETE FROM jobs.limit_waits AS w WHERE w.message_id = id;
    ELSE
        UPDATE jobs.limit_waits AS w
           SET hop = next_hop,
               called_at = CASE WHEN w.called_at <= jobs.moment() THEN jobs.moment() - kept
                                ELSE w.called_at END
         WHERE w.message_id = id;
    END IF;
    FOREACH one IN ARRAY keys LOOP
        PERFORM jobs.call_waiting(one, kept);
    END LOOP;
    RETURN had;
END
$$;
