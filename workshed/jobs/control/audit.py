"""The audit log of operators' actions and of logins; entries are never changed."""

from datetime import datetime
from typing import Any

from workshed.database.postgres import Connection, class_row, to_jsonb
from workshed.value_class import value_class


@value_class
class AuditEntry:
    """A row of `workshed.audit`."""

    id: int
    at: datetime
    performed_by: str
    action: str
    details: dict[str, Any]
    """IDs, or the filter that chose them."""
    count: int
    """How many were changed."""
    summary: str


@value_class
class AuditFilter:
    """A filter of entries; fields that are `None` match all."""

    performed_by: str | None = None
    action: str | None = None
    is_login: bool | None = None
    """Logins, logouts and what was refused; `False`: everything else."""


ANY = AuditFilter()


def record_entry(
    conn: Connection,
    *,
    performed_by: str,
    action: str,
    details: dict[str, Any],
    count: int,
    summary: str,
) -> int:
    """Write an entry, in the transaction of the action; return its ID."""
    query = """
        INSERT INTO workshed.audit (performed_by, action, details, count, summary)
        VALUES (%(performed_by)s, %(action)s, %(details)s, %(count)s, %(summary)s)
        RETURNING id
    """
    values = {
        "performed_by": performed_by,
        "action": action,
        "details": to_jsonb(details),
        "count": count,
        "summary": summary,
    }
    row = conn.execute(query, values).fetchone()
    assert row is not None  # noqa: S101 -- an INSERT returns its row
    return int(row[0])


def record_login(
    conn: Connection,
    *,
    performed_by: str,
    action: str,
    details: dict[str, Any],
    count: int,
    summary: str,
) -> int:
    """Write an entry about logins, also as a role that changes nothing; return its ID.

    `action` is one of `console.login`, `.login_failed`, `.login_refused` and `.logout`.
    """
    query = "SELECT workshed.audit_login(%s, %s, %s, %s, %s)"
    values = (performed_by, action, to_jsonb(details), count, summary)
    ((entry_id,),) = conn.execute(query, values).fetchall()
    return int(entry_id)


def get_entry(conn: Connection, entry_id: int) -> AuditEntry | None:
    """Return one entry."""
    query = (
        "SELECT id, at, performed_by, action, details, count, summary "
        "FROM workshed.audit WHERE id = %s"
    )
    with conn.cursor(row_factory=class_row(AuditEntry)) as cur:
        return cur.execute(query, (entry_id,)).fetchone()


def list_entries(
    conn: Connection,
    audit_filter: AuditFilter = ANY,
    *,
    before: int | None = None,
    limit: int = 100,
) -> list[AuditEntry]:
    """Return entries, latest first; only those before the ID `before`, if given."""
    query = """
        SELECT id, at, performed_by, action, details, count, summary
          FROM workshed.audit
         WHERE (%(performed_by)s::text IS NULL OR performed_by = %(performed_by)s)
           AND (%(action)s::text IS NULL OR action = %(action)s)
           AND (%(is_login)s::boolean IS NULL
                OR starts_with(action, 'console.') = %(is_login)s)
           AND (%(before)s::bigint IS NULL OR id < %(before)s)
         ORDER BY id DESC
         LIMIT %(limit)s
    """
    values = {
        "performed_by": audit_filter.performed_by,
        "action": audit_filter.action,
        "is_login": audit_filter.is_login,
        "before": before,
        "limit": limit,
    }
    with conn.cursor(row_factory=class_row(AuditEntry)) as cur:
        # Planned for these values, because one filter has an index of its own.
        return cur.execute(query, values, prepare=False).fetchall()
