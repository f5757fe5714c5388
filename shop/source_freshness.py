"""The age of each source's data; relays import this, so it does not import `shop.sync`."""

from dataclasses import dataclass
from datetime import timedelta

from psycopg.rows import class_row

from workshed import migrate
from workshed.db import Connection


@dataclass(frozen=True, slots=True)
class SourceAge:
    """What a relay reports about a source."""

    name: str
    age: timedelta
    """Time since the source was last read completely, or since it was added."""
    failed_runs: int


def list_source_ages(conn: Connection) -> list[SourceAge]:
    """Return the ages of all sources, ordered by name; none before the tables exist."""
    if not migrate.is_applied(conn, "shop"):
        return []
    query = """
        SELECT name, workshed.now() - coalesce(last_success_at, created_at) AS age, failed_runs
          FROM shop.sync_sources
         ORDER BY name
    """
    with conn.cursor(row_factory=class_row(SourceAge)) as cur:
        return cur.execute(query).fetchall()
