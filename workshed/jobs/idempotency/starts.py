"""Starts of jobs that may have a copy: what has its outcome, was cancelled, or kills its worker."""

from dataclasses import dataclass
from datetime import timedelta

from workshed.db import Connection
from workshed.jobs.tags import Traits

ALONE_AT_MOST = 2
"""Starts alone in a process; a job that ends none of them kills its worker."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a message before it starts."""

    settled: bool
    """This hop, or a later one, has its outcome."""
    cancelled: bool
    rule: int | None
    """The rule that cancels it."""
    started: bool
    """It was started before, as a redelivered job, and that start has no outcome."""
    alone: int
    """How many of those starts were made alone."""

    @property
    def kills(self) -> bool:
        """Tell whether it has ended its process each time it ran alone there."""
        return self.alone >= ALONE_AT_MOST


def past(conn: Connection, message_id: str, hop: int, traits: Traits) -> Past:
    """Ask the fence, the tombstones, the rules and the starts in one query."""
    query = """
        SELECT COALESCE((SELECT hop >= %(hop)s FROM jobs.settled
                          WHERE message_id = %(message_id)s), false),
               EXISTS (SELECT FROM jobs.tombstones WHERE message_id = %(message_id)s),
               jobs.cancelling_rule(%(actor)s, %(queue)s, %(tags)s, %(sent_ms)s),
               s.message_id IS NOT NULL,
               COALESCE(s.alone, 0)
          FROM (VALUES (1)) AS one
          LEFT JOIN jobs.starts AS s ON s.message_id = %(message_id)s AND s.hop = %(hop)s
    """
    values = {"message_id": message_id, "hop": hop, **traits.values}
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    return Past(*found)


def record(
    conn: Connection, message_id: str, hop: int, *, alone: bool, host: str, pid: int
) -> None:
    """Record a start; a later hop of the message counts anew."""
    query = """
        INSERT INTO jobs.starts AS s (message_id, hop, alone, host, pid)
        VALUES (%(message_id)s, %(hop)s, %(alone)s, %(host)s, %(pid)s)
        ON CONFLICT (message_id) DO UPDATE
           SET alone = EXCLUDED.alone + CASE WHEN s.hop = EXCLUDED.hop THEN s.alone ELSE 0 END,
               hop = EXCLUDED.hop, host = EXCLUDED.host, pid = EXCLUDED.pid,
               started_at = jobs.now()
    """
    values = {"message_id": message_id, "hop": hop, "alone": int(alone), "host": host, "pid": pid}
    conn.execute(query, values)


def withdraw(conn: Connection, message_id: str) -> None:
    """Delete the start of a copy whose job has its outcome, written while the copy started.

    That outcome takes with it the starts that are committed before it, and this one came later.
    """
    query = """
        DELETE FROM jobs.starts AS s USING jobs.settled AS d
         WHERE s.message_id = %s AND d.message_id = s.message_id AND d.hop >= s.hop
    """
    conn.execute(query, (message_id,))


def prune(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete starts of jobs that RabbitMQ has lost, at most `limit`; return how many.

    A copy that comes after so long is dead without being run.
    """
    query = """
        DELETE FROM jobs.starts
         WHERE message_id IN (
               SELECT message_id FROM jobs.starts
                WHERE started_at < jobs.now() - %(older_than)s
                LIMIT %(limit)s
                  FOR UPDATE SKIP LOCKED)
    """
    return conn.execute(query, {"older_than": older_than, "limit": limit}).rowcount
