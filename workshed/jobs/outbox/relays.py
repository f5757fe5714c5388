"""Live relays, by their heartbeats."""

from datetime import datetime, timedelta
from uuid import UUID

from workshed.database.postgres import Connection, class_row
from workshed.value_class import value_class

DEAD_AFTER = timedelta(seconds=10)
"""A relay without a heartbeat for this long has died; its rows may be claimed again."""


@value_class
class RelayProcess:
    """A row of `workshed.relays`."""

    id: str
    host: str
    pid: int
    started_at: datetime
    beat_at: datetime
    alive: bool


def record_relay(conn: Connection, relay: UUID, host: str, pid: int) -> None:
    """Record that a relay is alive."""
    query = """
        INSERT INTO workshed.relays (id, host, pid) VALUES (%s, %s, %s)
        ON CONFLICT (id) DO UPDATE SET beat_at = workshed.now()
    """
    conn.execute(query, (relay, host, pid))


def delete_relay(conn: Connection, relay: UUID) -> None:
    """Record that a relay has shut down gracefully."""
    conn.execute("DELETE FROM workshed.relays WHERE id = %s", (relay,))


def prune_relays(conn: Connection, silent_for: timedelta) -> int:
    """Delete relays that have been silent for long and own no row; return how many."""
    query = """
        DELETE FROM workshed.relays
         WHERE id IN (
               SELECT id FROM workshed.relays AS r
                WHERE beat_at < workshed.now() - %s
                  AND NOT EXISTS (SELECT FROM workshed.schedule WHERE claimed_by = r.id)
                  FOR UPDATE SKIP LOCKED)
    """
    return conn.execute(query, (silent_for,)).rowcount


def list_relays(conn: Connection) -> list[RelayProcess]:
    """Return the relays, including silent ones until they are deleted."""
    query = """
        SELECT id::text, host, pid, started_at, beat_at, beat_at >= workshed.now() - %s AS alive
          FROM workshed.relays
         ORDER BY host, started_at, pid
    """
    with conn.cursor(row_factory=class_row(RelayProcess)) as cur:
        return cur.execute(query, (DEAD_AFTER,)).fetchall()


def last_beat(conn: Connection) -> datetime | None:
    """Return when any relay last sent a heartbeat; `None` if none ever did."""
    found = conn.execute("SELECT max(beat_at) FROM workshed.relays").fetchone()
    at: datetime | None = found[0] if found else None
    return at


def last_beat_age(conn: Connection) -> timedelta | None:
    """Return the age of the latest heartbeat of any relay; `None` if there is none."""
    found = conn.execute("SELECT workshed.now() - max(beat_at) FROM workshed.relays").fetchone()
    ago: timedelta | None = found[0] if found else None
    return ago


def is_any_alive(conn: Connection) -> bool:
    """Return whether any relay, on any host, sent a heartbeat within the last 10 s."""
    ago = last_beat_age(conn)
    return ago is not None and ago <= DEAD_AFTER
