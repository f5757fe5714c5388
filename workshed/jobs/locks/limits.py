"""Concurrency limits and rate limits per key, and the jobs that wait for them.

Limits count starts. Each limit has a row. A job that takes, releases or waits for a slot locks that
row until its transaction ends; several rows are locked in the order of their keys. Jobs over a
limit wait in order of arrival, and no later job gets their slot.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from workshed.database.postgres import IDLE, Connection, class_row
from workshed.jobs.locks.run_locks import LEASE
from workshed.pruning import delete_old_rows
from workshed.value_class import value_class

LimitKind = Literal["concurrent", "window", "bucket"]

OFFER_LIFETIME = timedelta(seconds=10)
"""How long a slot is kept for the waiting job that was woken for it."""
RECHECK_AFTER = timedelta(hours=1)
"""A job that waits for others to end is woken then; without that, it checks again after this."""
FORGET_AFTER = timedelta(days=1)
"""A waiting job that was woken this long ago and did not start loses its place."""


@value_class
class SlotRequest:
    """A job's request for a slot of one limit.

    `size`: jobs at a time, starts within `span`, or the capacity of a bucket, which regains one
    token after each `span`. `share`: on whose behalf; free slots are divided among the shares that
    wait.
    """

    key: str
    kind: LimitKind
    size: int
    span: timedelta | None = None
    share: str = ""

    @property
    def is_held(self) -> bool:
        """Whether its slot is held while the job runs, and released with its outcome."""
        return self.kind == "concurrent"


@value_class
class JobStart:
    """A start of a job that requests slots; `token` is unique to this start."""

    token: UUID
    message_id: str
    actor: str
    host: str
    pid: int


@value_class
class WaitResult:
    """The limit for which a job waits: it gets a slot `opens_in`, and checks again `recheck_in`."""

    key: str
    opens_in: timedelta | None
    recheck_in: timedelta


@value_class
class LimitState:
    """A limit, for people to read.

    `used`: jobs that run now, have started within the span, or tokens missing in the bucket.
    `next_at`: when a job that comes now gets a slot; `None`: once a running one has ended.
    """

    key: str
    kind: LimitKind
    used: int
    size: int
    span: timedelta | None
    waiting: int
    waiting_since: datetime | None
    next_at: datetime | None


@value_class
class SlotHolder:
    """A running job that has a slot of a limit."""

    key: str
    share: str
    message_id: str
    actor: str
    host: str
    pid: int
    acquired_at: datetime


@value_class
class LimitWaiter:
    """A job that waits for a limit."""

    key: str
    share: str
    message_id: str
    waiting_since: datetime
    offered_at: datetime | None
    """When it gets a slot; `None` while that is unknown."""


def acquire_slots(conn: Connection, asks: Sequence[SlotRequest], start: JobStart) -> str | None:
    """Take a slot of each limit, or of none; return the key of a limit without a free slot."""
    query = """
        SELECT workshed.acquire_slots(
               %(keys)s, %(kinds)s, %(sizes)s::int[], %(spans)s::interval[],
               %(shares)s,
               %(token)s, %(message_id)s, %(actor)s, %(host)s, %(pid)s, %(lease)s, %(kept)s)
    """
    values = {
        **_values(asks),
        "token": start.token,
        "message_id": start.message_id,
        "actor": start.actor,
        "host": start.host,
        "pid": start.pid,
        "lease": LEASE,
        "kept": OFFER_LIFETIME,
    }
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    refused: str | None = found[0]
    return refused


def enqueue_waiter(
    conn: Connection, asks: Sequence[SlotRequest], message_id: str, generation: int
) -> WaitResult:
    """Make the next generation of a job wait for the limit that gives it a slot last."""
    query = """
        SELECT awaited, opens_in, again_in
          FROM workshed.enqueue_waiter(
               %(keys)s, %(kinds)s, %(sizes)s::int[], %(spans)s::interval[],
               %(shares)s,
               %(message_id)s, %(generation)s, %(kept)s, %(at_most)s)
    """
    values = {
        **_values(asks),
        "message_id": message_id,
        "generation": generation,
        "kept": OFFER_LIFETIME,
        "at_most": RECHECK_AFTER,
    }
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    return WaitResult(*found)


def release_slots(
    conn: Connection,
    keys: Sequence[str],
    token: UUID | None,
    message_id: str,
    generation: int | None,
) -> int:
    """Release the slots of a start, and wake jobs that wait for them; return how many it had.

    `generation` is the next one; `None`: the job has ended. In autocommit, where nothing else is
    written, this does not wait for the disk: a slot that a crash brings back is a lease, which
    expires.
    """
    query = "SELECT workshed.release_slots(%s::text[], %s, %s, %s, %s, %s)"
    alone = conn.autocommit and conn.info.transaction_status == IDLE
    values = (sorted(keys), token, message_id, generation, OFFER_LIFETIME, not alone)
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    return int(found[0])


def renew_slots(conn: Connection, tokens: Sequence[UUID]) -> int:
    """Extend the leases of slots; return how many are still held."""
    query = "UPDATE workshed.limit_slots SET expires_at = workshed.now() + %s WHERE token = ANY(%s)"
    return conn.execute(query, (LEASE, list(tokens))).rowcount


def keys_with_waiters(conn: Connection) -> list[str]:
    """Return the limits that jobs wait for; skips from key to key, so it is fast for many jobs."""
    query = """
        WITH RECURSIVE keys (key) AS (
            (SELECT key FROM workshed.limit_waiters ORDER BY key LIMIT 1)
            UNION ALL
            SELECT (SELECT w.key FROM workshed.limit_waiters AS w
                     WHERE w.key > k.key ORDER BY w.key LIMIT 1)
              FROM keys AS k
             WHERE k.key IS NOT NULL
        )
        SELECT key FROM keys WHERE key IS NOT NULL
    """
    return [key for (key,) in conn.execute(query)]


def offer_slots(conn: Connection, key: str) -> int:
    """Give the free slots of a limit to waiting jobs; return how many were woken."""
    found = conn.execute("SELECT workshed.offer_slots(%s, %s)", (key, OFFER_LIFETIME)).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    return int(found[0])


def list_limits(
    conn: Connection,
    *,
    key: str | None = None,
    waiting: bool = False,
    after: str | None = None,
    limit: int = 1_000,
) -> list[LimitState]:
    """Return recently used limits in order of key; only the one named `key`, if given.

    `waiting`: only limits that jobs wait for. `after`: only those whose key comes after this one.
    """
    query = """
        SELECT l.key, l.kind, LEAST(l.size, CASE l.kind
                   WHEN 'concurrent' THEN (SELECT count(*) FROM workshed.limit_slots AS s
                                            WHERE s.key = l.key AND s.expires_at > workshed.now())
                   WHEN 'window' THEN (SELECT count(*) FROM workshed.limit_starts AS s
                                        WHERE s.key = l.key AND s.number > l.start_count - l.size
                                          AND s.at > workshed.now() - l.span)
                   ELSE ceil(extract(epoch FROM GREATEST(l.idle_at,
                                                         workshed.now()) - workshed.now())
                             / extract(epoch FROM l.span))
               END)::int AS used,
               l.size, l.span, w.waiting, w.waiting_since,
               NULLIF(workshed.limit_next_opening(l, w.waiting, workshed.now()),
                      'infinity') AS next_at
          FROM workshed.limits AS l
         CROSS JOIN LATERAL (SELECT count(*) AS waiting, min(waiting_since) AS waiting_since
                               FROM workshed.limit_waiters AS w WHERE w.key = l.key) AS w
         WHERE (%(key)s::text IS NULL OR l.key = %(key)s)
           AND (NOT %(waiting)s OR w.waiting > 0)
           AND (%(after)s::text IS NULL OR l.key > %(after)s)
         ORDER BY l.key
         LIMIT %(limit)s
    """
    with conn.cursor(row_factory=class_row(LimitState)) as cur:
        values = {"key": key, "waiting": waiting, "after": after, "limit": limit}
        return cur.execute(query, values).fetchall()


def list_holders(conn: Connection, keys: Sequence[str], limit: int) -> list[SlotHolder]:
    """Return the jobs with slots of these limits, longest first, at most `limit` for each."""
    query = """
        SELECT s.key, s.share, s.message_id, s.actor, s.host, s.pid, s.acquired_at
          FROM unnest(%(keys)s::text[]) AS k (key)
         CROSS JOIN LATERAL (SELECT *
                               FROM workshed.limit_slots
                              WHERE key = k.key AND expires_at > workshed.now()
                              ORDER BY acquired_at, message_id
                              LIMIT %(limit)s) AS s
    """
    with conn.cursor(row_factory=class_row(SlotHolder)) as cur:
        return cur.execute(query, {"keys": list(keys), "limit": limit}).fetchall()


def list_waiters(conn: Connection, keys: Sequence[str], limit: int) -> list[LimitWaiter]:
    """Return the jobs that wait for these limits, next one first, at most `limit` for each."""
    query = """
        SELECT w.key, w.share, w.message_id, w.waiting_since, w.offered_at
          FROM unnest(%(keys)s::text[]) AS k (key)
         CROSS JOIN LATERAL (SELECT *
                               FROM workshed.limit_waiters
                              WHERE key = k.key
                              ORDER BY fair_rank, seq
                              LIMIT %(limit)s) AS w
    """
    with conn.cursor(row_factory=class_row(LimitWaiter)) as cur:
        return cur.execute(query, {"keys": list(keys), "limit": limit}).fetchall()


def prune_limits(conn: Connection, limit: int) -> int:
    """Delete what no longer counts, at most `limit` of each; return how many at the most."""
    # By a column of the row itself: it is looked at again once its lock was waited for.
    idle = """
        WITH idle AS (
            DELETE FROM workshed.limits
             WHERE key = ANY (ARRAY(
                   SELECT l.key FROM workshed.limits AS l
                    WHERE l.idle_at < workshed.now()
                      AND NOT EXISTS (SELECT FROM workshed.limit_slots WHERE key = l.key)
                      AND NOT EXISTS (SELECT FROM workshed.limit_waiters WHERE key = l.key)
                    LIMIT %(limit)s
                      FOR UPDATE SKIP LOCKED))
            RETURNING key
        ), starts AS (
            DELETE FROM workshed.limit_starts USING idle WHERE limit_starts.key = idle.key
        )
        SELECT count(*) FROM idle
    """
    slots = delete_old_rows(conn, "workshed.limit_slots", "expires_at", FORGET_AFTER, limit)
    waiters = delete_old_rows(conn, "workshed.limit_waiters", "offered_at", FORGET_AFTER, limit)
    found = conn.execute(idle, {"limit": limit}).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    return max(slots, waiters, int(found[0]))


def _values(asks: Sequence[SlotRequest]) -> dict[str, Any]:
    """Return the columns of the requests, in the order in which all processes lock the limits.

    Spans are in seconds, because a day in PostgreSQL need not have 24 hours.
    """
    asks = sorted(asks, key=lambda ask: ask.key)
    return {
        "keys": [ask.key for ask in asks],
        "kinds": [ask.kind for ask in asks],
        "sizes": [ask.size for ask in asks],
        "spans": [ask.span and f"{ask.span.total_seconds():.6f} s" for ask in asks],
        "shares": [ask.share for ask in asks],
    }
