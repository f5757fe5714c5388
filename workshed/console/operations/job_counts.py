"""Count waiting and dead jobs, up to a limit."""

from workshed.database.postgres import Connection
from workshed.value_class import value_class


@value_class
class CappedCount:
    """A count, and whether there are more."""

    count: int
    more: bool = False


def count_waiting(conn: Connection, most: int) -> CappedCount:
    """Count jobs in the schedule that are not on RabbitMQ, at most `most`."""
    query = """
        SELECT count(*)
          FROM (SELECT FROM workshed.schedule WHERE sent_at IS NULL LIMIT %s) AS counted
    """
    return _cap_count(conn.execute(query, (most + 1,)).fetchone(), most)


def count_dead(conn: Connection, most: int) -> CappedCount:
    """Count dead jobs, at most `most`."""
    query = "SELECT count(*) FROM (SELECT FROM workshed.dead LIMIT %s) AS counted"
    return _cap_count(conn.execute(query, (most + 1,)).fetchone(), most)


def _cap_count(row: tuple[int, ...] | None, most: int) -> CappedCount:
    found = 0 if row is None else row[0]
    return CappedCount(min(found, most), found > most)
