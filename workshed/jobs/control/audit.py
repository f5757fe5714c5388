"""What operators did: who did what to how many, written once and never changed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from workshed.db import Connection


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of `jobs.audit`."""

    id: int
    at: datetime
    who: str
    action: str
    about: dict[str, Any]
    """Ids, or the filter that chose them."""
    count: int
    """How many have changed."""
    said: str


@dataclass(frozen=True, slots=True)
class Which:
    """Some of the entries; what is `None` does not matter."""

    who: str | None = None
    action: str | None = None


ANY = Which()


def note(
    conn: Connection, *, who: str, action: str, about: dict[str, Any], count: int, said: str
) -> int:
    """Write an entry, in the transaction of what it tells of; return its id."""
    query = """
        INSERT INTO jobs.audit (who, action, about, count, said)
        VALUES (%(who)s, %(action)s, %(about)s, %(count)s, %(said)s)
        RETURNING id
    """
    values = {"who": who, "action": action, "about": Jsonb(about), "count": count, "said": said}
    row = conn.execute(query, values).fetchone()
    assert row is not None  # noqa: S101 -- an INSERT returns its row
    return int(row[0])


def get(conn: Connection, entry_id: int) -> Entry | None:
    """Return one of them."""
    query = "SELECT id, at, who, action, about, count, said FROM jobs.audit WHERE id = %s"
    with conn.cursor(row_factory=class_row(Entry)) as cur:
        return cur.execute(query, (entry_id,)).fetchone()


def find(
    conn: Connection, which: Which = ANY, *, before: int | None = None, limit: int = 100
) -> list[Entry]:
    """Return entries, the latest first; those before the id `before`, when it is given."""
    query = """
        SELECT id, at, who, action, about, count, said
          FROM jobs.audit
         WHERE (%(who)s::text IS NULL OR who = %(who)s)
           AND (%(action)s::text IS NULL OR action = %(action)s)
           AND (%(before)s::bigint IS NULL OR id < %(before)s)
         ORDER BY id DESC
         LIMIT %(limit)s
    """
    values = {"who": which.who, "action": which.action, "before": before, "limit": limit}
    with conn.cursor(row_factory=class_row(Entry)) as cur:
        return cur.execute(query, values).fetchall()
