"""Leases: rows of messages that their sender publishes, or a relay if that sender dies."""

from collections.abc import Sequence
from datetime import timedelta

from workshed.database.postgres import Connection
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.schedule import OutboxRow

Key = tuple[str, int]
"""Message ID and generation."""


def insert_leases(conn: Connection, rows: Sequence[OutboxRow], span: timedelta) -> None:
    """Store rows of reason `outbox_lease`, due once their sender can no longer be publishing."""
    schedule.insert_many(conn, rows, span)


def delete_leases(conn: Connection, keys: Sequence[Key]) -> int:
    """Delete rows that RabbitMQ has on disk, or refused; return how many."""
    query = """
        DELETE FROM workshed.schedule AS s
         USING unnest(%(ids)s::text[], %(generations)s::int[]) AS done (message_id, generation)
         WHERE s.message_id = done.message_id AND s.generation = done.generation
           AND s.reason = 'outbox_lease'
    """
    return conn.execute(query, _values(keys)).rowcount


def keep_until_outcome(conn: Connection, keys: Sequence[Key]) -> int:
    """Keep rows that RabbitMQ confirmed only in memory until their outcome; return how many.

    A job whose outcome came first has no row any more.
    """
    query = """
        UPDATE workshed.schedule AS s
           SET sent_at = workshed.now()
          FROM unnest(%(ids)s::text[], %(generations)s::int[]) AS done (message_id, generation)
         WHERE s.message_id = done.message_id AND s.generation = done.generation
           AND s.reason = 'outbox_lease' AND s.claimed_by IS NULL AND s.sent_at IS NULL
    """
    return conn.execute(query, _values(keys)).rowcount


def release_to_relay(conn: Connection, keys: Sequence[Key], *, unknown: Sequence[bool]) -> int:
    """Release the rows to the relay at once; return how many.

    `unknown`, one per key: whether a copy may have arrived.
    """
    query = """
        UPDATE workshed.schedule AS s
           SET reason = 'broker_down', due_at = workshed.now(),
               possible_duplicate = s.possible_duplicate OR failed.unknown
          FROM unnest(%(ids)s::text[], %(generations)s::int[], %(unknown)s::bool[])
                   AS failed (message_id, generation, unknown)
         WHERE s.message_id = failed.message_id AND s.generation = failed.generation
           AND s.claimed_by IS NULL
    """
    return conn.execute(query, {**_values(keys), "unknown": list(unknown)}).rowcount


def _values(keys: Sequence[Key]) -> dict[str, object]:
    return {"ids": [key[0] for key in keys], "generations": [key[1] for key in keys]}
