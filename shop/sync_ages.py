"""How old what we have of each source is, for relays, which need nothing that asks a source."""

from dataclasses import dataclass
from datetime import timedelta

from psycopg.rows import class_row

from workshed import migrate
from workshed.db import Connection


@dataclass(frozen=True, slots=True)
class SourceAge:
    """What a relay tells of a source."""

    name: str
    age: timedelta
    """How long ago all of it was read, or since when it has not been."""
    failed_runs: int


def find(conn: Connection) -> list[SourceAge]:
    """Return that of all sources by name; of none before its tables are there."""
    if not migrate.is_applied(conn, "shop"):
        return []
    query = """
        SELECT name, workshed.now() - coalesce(last_success_at, created_at) AS age, failed_runs
          FROM shop.sync_sources
         ORDER BY name
    """
    with conn.cursor(row_factory=class_row(SourceAge)) as cur:
        return cur.execute(query).fetchall()
