"""How many jobs wait and are dead, as far as it is worth counting."""

from dataclasses import dataclass

from workshed.db import Connection


@dataclass(frozen=True, slots=True)
class Counted:
    """So many, and whether there are more."""

    count: int
    more: bool = False


def count_waiting(conn: Connection, most: int) -> Counted:
    """Count what is in the schedule, and not on RabbitMQ."""
    query = """
        SELECT count(*)
          FROM (SELECT FROM workshed.schedule WHERE sent_at IS NULL LIMIT %s) AS counted
    """
    return _counted(conn.execute(query, (most + 1,)).fetchone(), most)


def count_dead(conn: Connection, most: int) -> Counted:
    """Count the dead."""
    query = "SELECT count(*) FROM (SELECT FROM workshed.dead LIMIT %s) AS counted"
    return _counted(conn.execute(query, (most + 1,)).fetchone(), most)


def _counted(row: tuple[int, ...] | None, most: int) -> Counted:
    found = 0 if row is None else row[0]
    return Counted(min(found, most), found > most)
