"""Rows of the schedule that a relay claims, and what happens to them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from workshed.database.postgres import Connection, class_row
from workshed.jobs.outbox.relays import DEAD_AFTER
from workshed.value_class import value_class

BATCH = 1_000


@value_class
class ClaimedRow:
    """A row that a relay has claimed."""

    message_id: str
    generation: int
    queue: str
    body: str
    due_at: datetime
    possible_duplicate: bool
    """RabbitMQ may have a copy, because a relay or sender that died may have published it."""


def use_indexes(conn: Connection) -> None:
    """Make this connection's queries use indexes, whatever the table's statistics say.

    This table is empty one minute and has a million rows the next, before it is analyzed. For the
    same reason, the queries below find rows by position (`ctid`) instead of by a join, whose order
    would depend on the statistics: a window could then take a minute instead of 15 ms.

    Does nothing behind a pooler, whose next client would inherit these settings.
    """
    if getattr(conn, "is_pooled", False):
        return
    conn.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")


def claim_due(
    conn: Connection, relay: UUID, limit: int, *, since: datetime | None = None
) -> list[ClaimedRow]:
    """Claim the next due rows for this relay and return them, longest due first.

    `since` excludes rows that were due earlier. Without it, the query scans every row that was sent
    since the oldest open transaction began, at 0.3 µs each: too slow for fifty times a second.
    """
    query = """
        WITH taken AS (
            UPDATE workshed.schedule
               SET claimed_by = %(relay)s, claimed_at = workshed.now(),
                   -- The sender of a lease may have published it and died.
                   possible_duplicate = possible_duplicate OR reason = 'outbox_lease'
             WHERE ctid = ANY (ARRAY(
                   SELECT ctid
                     FROM workshed.schedule
                    WHERE claimed_by IS NULL AND sent_at IS NULL
                      AND due_at >= COALESCE(%(since)s::timestamptz, '-infinity')
                      AND due_at <= workshed.now()
                    ORDER BY due_at
                    LIMIT %(limit)s
                      FOR UPDATE SKIP LOCKED))
            RETURNING message_id, generation, queue, body, due_at, possible_duplicate
        )
        SELECT * FROM taken ORDER BY due_at
    """
    values = {"relay": relay, "limit": limit, "since": since}
    with conn.cursor(row_factory=class_row(ClaimedRow)) as cur:
        return cur.execute(query, values).fetchall()


def make_due_now(conn: Connection) -> int:
    """Make rows due now that were stored to be sent at once; return how many.

    Otherwise, after the clock was put back, they would be due only once it has caught up.
    """
    query = """
        UPDATE workshed.schedule
           SET due_at = workshed.now()
         WHERE claimed_by IS NULL AND sent_at IS NULL AND due_at > workshed.now()
           AND reason IN ('transactional', 'broker_down', 'redriven')
    """
    return conn.execute(query).rowcount


def claim_orphaned(
    conn: Connection, relay: UUID, limit: int, *, spare_workers: bool = False
) -> list[ClaimedRow]:
    """Claim rows of dead processes, marked as possible duplicates: they may have been published.

    A process is a relay, or a worker that takes its jobs from this table and may be running them.
    `spare_workers`: all known workers count as alive, because PostgreSQL may have been away, which
    silences those that are.
    """
    query = """
        WITH taken AS (
            UPDATE workshed.schedule
               SET claimed_by = %(relay)s, claimed_at = workshed.now(), possible_duplicate = true
             WHERE ctid = ANY (ARRAY(
                   SELECT ctid
                     FROM workshed.schedule
                    WHERE claimed_by IS NOT NULL
                      AND claimed_at < workshed.now() - %(dead_after)s
                      AND NOT EXISTS (
                          SELECT FROM workshed.relays
                           WHERE relays.id = schedule.claimed_by
                             AND relays.beat_at >= workshed.now() - %(dead_after)s)
                      AND NOT EXISTS (
                          SELECT FROM workshed.workers
                           WHERE workers.id = schedule.claimed_by
                             AND (%(spare_workers)s
                                  OR workers.beat_at >= workshed.now() - %(dead_after)s))
                    LIMIT %(limit)s
                      FOR UPDATE SKIP LOCKED))
            RETURNING message_id, generation, queue, body, due_at, possible_duplicate
        )
        SELECT * FROM taken ORDER BY due_at
    """
    values = {
        "relay": relay,
        "limit": limit,
        "dead_after": DEAD_AFTER,
        "spare_workers": spare_workers,
    }
    with conn.cursor(row_factory=class_row(ClaimedRow)) as cur:
        return cur.execute(query, values).fetchall()


def delete_sent(conn: Connection, relay: UUID, rows: Sequence[ClaimedRow]) -> int:
    """Delete confirmed rows that this relay still owns; return how many.

    A classic queue's confirm does not mean that the message is on disk, so its rows are kept until
    their outcome is stored.
    """
    query = """
        WITH done AS (
            SELECT (q.kind = 'classic') IS TRUE AS kept,
                   (SELECT ctid
                      FROM workshed.schedule AS s
                     WHERE s.message_id = sent.message_id
                       AND s.generation = sent.generation) AS place
              FROM unnest(%(ids)s::text[], %(generations)s::int[], %(queues)s::text[])
                       AS sent (message_id, generation, queue)
              LEFT JOIN workshed.queues AS q ON q.name = sent.queue
        ), kept AS (
            UPDATE workshed.schedule
               SET sent_at = workshed.now(), claimed_by = NULL, claimed_at = NULL
             WHERE ctid = ANY (ARRAY(SELECT place FROM done WHERE kept))
               AND (claimed_by = %(relay)s) IS TRUE  -- not by its index: that holds what is gone
            RETURNING 1
        ), gone AS (
            DELETE FROM workshed.schedule
             WHERE ctid = ANY (ARRAY(SELECT place FROM done WHERE NOT kept))
               AND (claimed_by = %(relay)s) IS TRUE
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM kept) + (SELECT count(*) FROM gone)
    """
    values = {**_keys(rows), "relay": relay, "queues": [row.queue for row in rows]}
    found = conn.execute(query, values).fetchone()
    return 0 if found is None else int(found[0])


def delete_row(conn: Connection, relay: UUID, row: ClaimedRow) -> None:
    """Delete a row that will never be sent."""
    query = (
        "DELETE FROM workshed.schedule WHERE message_id = %s "
        "AND generation = %s AND claimed_by = %s"
    )
    conn.execute(query, (row.message_id, row.generation, relay))


def release_rows(
    conn: Connection,
    relay: UUID,
    rows: Sequence[ClaimedRow],
    delay: timedelta,
    *,
    unknown: Sequence[bool],
) -> int:
    """Release rows that RabbitMQ did not take, for a retry after `delay`; return how many.

    `unknown`, one per row: whether a copy may nevertheless have arrived.
    """
    query = """
        UPDATE workshed.schedule
           SET claimed_by = NULL, claimed_at = NULL, due_at = workshed.now() + %(delay)s,
               possible_duplicate = possible_duplicate OR (message_id, generation) IN (
                   SELECT * FROM unnest(%(unknown_ids)s::text[], %(unknown_generations)s::int[]))
         WHERE ctid = ANY (ARRAY(
               SELECT (SELECT ctid
                         FROM workshed.schedule AS s
                        WHERE s.message_id = failed.message_id AND s.generation = failed.generation)
                 FROM unnest(%(ids)s::text[], %(generations)s::int[]) AS failed (message_id,
                                                                                 generation)))
           AND (claimed_by = %(relay)s) IS TRUE
    """
    doubtful = [row for row, in_doubt in zip(rows, unknown, strict=True) if in_doubt]
    marked = {f"unknown_{name}": value for name, value in _keys(doubtful).items()}
    return conn.execute(query, {**_keys(rows), **marked, "relay": relay, "delay": delay}).rowcount


def time_until_due(conn: Connection, *, since: datetime | None = None) -> timedelta | None:
    """Return how long until the next row is due; `None` if none waits."""
    query = """
        SELECT due_at - workshed.now()
          FROM workshed.schedule
         WHERE claimed_by IS NULL AND sent_at IS NULL
           AND due_at >= COALESCE(%s::timestamptz, '-infinity')
         ORDER BY due_at  -- and not `min`, which would read all rows of a table said to be empty
         LIMIT 1
    """
    found = conn.execute(query, (since,)).fetchone()
    wait: timedelta | None = found[0] if found else None
    return wait


def oldest_due_age(conn: Connection) -> timedelta:
    """Return how long the oldest due row has waited to be sent; zero if none does."""
    query = """
        SELECT workshed.now() - LEAST(
               (SELECT due_at
                  FROM workshed.schedule
                 WHERE claimed_by IS NULL AND sent_at IS NULL
                 ORDER BY due_at
                 LIMIT 1),
               (SELECT min(due_at) FROM workshed.schedule
                 WHERE claimed_by IS NOT NULL AND NOT EXISTS (
                       SELECT FROM workshed.workers WHERE id = claimed_by)))  -- they run it
    """
    found = conn.execute(query).fetchone()
    waited: timedelta | None = found[0] if found else None
    return max(waited or timedelta(), timedelta())


def count_by_state(conn: Connection) -> dict[tuple[str, str], int]:
    """Count rows by queue and state: `due`, `later`, or `sent` and kept."""
    query = """
        SELECT queue, CASE WHEN sent_at IS NOT NULL THEN 'sent'
                           WHEN due_at <= workshed.now() THEN 'due' ELSE 'later' END AS state,
                                count(*)
          FROM workshed.schedule
         GROUP BY 1, 2
    """
    return {(queue, state): count for queue, state, count in conn.execute(query)}


def list_kept_queues(conn: Connection) -> list[str]:
    """Return the queues that have rows kept until their outcome."""
    query = """
        SELECT name
          FROM workshed.queues
         WHERE (SELECT true
                  FROM workshed.schedule
                 WHERE queue = name AND sent_at IS NOT NULL
                 LIMIT 1)  -- and not `EXISTS`, which is a join
    """
    return [name for (name,) in conn.execute(query)]


def mark_seen_empty(conn: Connection, queue: str, before: datetime) -> int:
    """Record that a queue had no ready message at `before`; return how many rows that affects.

    A job that was sent earlier and has no outcome is held by a worker since then, or lost.
    """
    query = """
        UPDATE workshed.schedule
           SET seen_empty_at = %(before)s
         WHERE queue = %(queue)s AND sent_at < %(before)s AND seen_empty_at IS NULL
    """
    return conn.execute(query, {"queue": queue, "before": before}).rowcount


def release_lost(conn: Connection, after: timedelta, *, limit: int = BATCH) -> int:
    """Resend rows whose queue was seen empty longer than `after` ago; return how many.

    Per queue at most `limit`, among those that were sent first. These are missing for longest, so
    the query is fast even with a backlog of a million.
    """
    query = """
        UPDATE workshed.schedule
           SET sent_at = NULL, seen_empty_at = NULL, possible_duplicate = true,
               due_at = workshed.now()
         WHERE ctid = ANY (ARRAY(
               SELECT first.ctid
                 FROM workshed.queues AS q
                CROSS JOIN LATERAL (
                      SELECT ctid, seen_empty_at
                        FROM workshed.schedule
                       WHERE queue = q.name AND sent_at IS NOT NULL
                       ORDER BY sent_at
                       LIMIT %(limit)s
                      ) AS first
                WHERE first.seen_empty_at < workshed.now() - %(after)s))
           -- Or another relay was first; PostgreSQL need not look at a changed row's place again.
           AND seen_empty_at < workshed.now() - %(after)s
    """
    return conn.execute(query, {"after": after, "limit": limit}).rowcount


def _keys(rows: Sequence[ClaimedRow]) -> dict[str, object]:
    return {
        "ids": [row.message_id for row in rows],
        "generations": [row.generation for row in rows],
    }
