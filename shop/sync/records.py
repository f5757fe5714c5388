"""One record of a source: fetched, and stored with its associations; the newer version wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from shop.sync import schemas, sources
from shop.sync.client import request_json
from shop.sync.errors import RefusedRequestError
from shop.sync.schemas import Association, Record
from shop.sync.sources import FetchPermit
from workshed.db import Connection
from workshed.jobs import RecordMissing
from workshed.jobs.context import current_job

Change = Literal["created", "updated", "restored", "deleted"]

GONE_STATUSES = (404, 410)


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """The stored state of a record."""

    version: int | None
    """`None` if it was never fetched."""
    missing_since: datetime | None
    deleted_at: datetime | None


def fetch_record(leave: FetchPermit, external_id: str) -> Record | None:
    """Fetch a record; call it without an open transaction. `None` if the source does not have it.

    Raises a `SourceError`, and `RecordMissing` for an invalid id.
    """
    if not schemas.is_id(external_id):
        raise RecordMissing(f"record of {leave.name}", external_id)
    try:
        with sources.recording_result(leave):
            answer = request_json(leave.name, leave.url, f"records/{external_id}")
            return schemas.parse_record(leave.name, external_id, answer)
    except RefusedRequestError as err:
        if err.status in GONE_STATUSES:
            return None
        raise


def store_record(
    conn: Connection, leave: FetchPermit, external_id: str, record: Record | None
) -> Change | None:
    """Store a fetched record, its associations and a line of the log.

    Returns `None` and stores nothing if the stored record is as new. Raises `RecordMissing` if
    neither the source nor the database has such a record.
    """
    stored = _lock_record(conn, leave.name, external_id)
    change = decide_change(stored, None if record is None else record.version, leave.issued_at)
    if record is None and change is None and stored.deleted_at is None:
        raise RecordMissing(f"record of {leave.name}", external_id)
    if change is None and record is not None and stored.missing_since is not None:
        _clear_missing(conn, leave.name, external_id)
    if change is not None:
        if record is None:
            _mark_deleted(conn, leave.name, external_id)
        else:
            _update_record(conn, leave, record)
        _replace_associations(
            conn, leave.name, external_id, () if record is None else record.associations
        )
        _log_change(conn, leave.name, external_id, change)
    return change


def decide_change(stored: StoredRecord, version: int | None, since: datetime) -> Change | None:
    """Return what an answer changes; `since`: when it was requested, no version: no such record.

    A record counts as deleted only if a whole listing lacked it, and the source does not have it
    when asked after that. Of two versions the newer wins, in whatever order two jobs write. An
    answer requested before `deleted_at` is ignored. One requested later restores the record,
    whatever its version, because a source may start counting versions again.
    """
    if version is None:
        gone = stored.missing_since is not None and stored.missing_since < since
        return "deleted" if gone and stored.deleted_at is None else None
    if stored.deleted_at is not None:
        return "restored" if stored.deleted_at < since else None
    if stored.version is None:
        return "created"
    return "updated" if stored.version < version else None


def _lock_record(conn: Connection, source: str, external_id: str) -> StoredRecord:
    """Return the stored record, locked until the transaction ends."""
    query = """
        INSERT INTO shop.sync_records (source, external_id) VALUES (%s, %s)
            ON CONFLICT (source, external_id)
            DO UPDATE SET external_id = excluded.external_id  -- changes nothing, but locks the row
        RETURNING version, missing_since, deleted_at
    """
    with conn.cursor(row_factory=class_row(StoredRecord)) as cur:
        return next(iter(cur.execute(query, (source, external_id))))


def _update_record(conn: Connection, leave: FetchPermit, record: Record) -> None:
    query = """
        UPDATE shop.sync_records
           SET version = %(version)s, name = %(name)s, data = %(data)s, fetched_at = %(since)s,
               missing_since = NULL, deleted_at = NULL
         WHERE source = %(source)s AND external_id = %(id)s
    """
    values = {
        "source": leave.name,
        "id": record.id,
        "version": record.version,
        "name": record.name,
        "data": Jsonb(record.data),
        "since": leave.issued_at,
    }
    conn.execute(query, values)


def _clear_missing(conn: Connection, source: str, external_id: str) -> None:
    """Record that a record exists although a listing lacked it."""
    query = """
        UPDATE shop.sync_records SET missing_since = NULL
         WHERE source = %s AND external_id = %s AND deleted_at IS NULL
    """
    conn.execute(query, (source, external_id))


def _mark_deleted(conn: Connection, source: str, external_id: str) -> None:
    query = """
        UPDATE shop.sync_records SET deleted_at = workshed.now()
         WHERE source = %s AND external_id = %s
    """
    conn.execute(query, (source, external_id))


def _replace_associations(
    conn: Connection, source: str, external_id: str, associations: Sequence[Association]
) -> None:
    """Replace the associations of a record."""
    query = """
        WITH wanted AS (
            SELECT DISTINCT kind, other_id
              FROM unnest(%(kinds)s::text[], %(others)s::text[]) AS w (kind, other_id)),
        loose AS (
            DELETE FROM shop.sync_associations
             WHERE source = %(source)s AND external_id = %(id)s
               AND (kind, other_id) NOT IN (SELECT kind, other_id FROM wanted))
        INSERT INTO shop.sync_associations (source, external_id, kind, other_id)
        SELECT %(source)s, %(id)s, kind, other_id FROM wanted
            ON CONFLICT DO NOTHING
    """
    values = {
        "source": source,
        "id": external_id,
        "kinds": [one.kind for one in associations],
        "others": [one.id for one in associations],
    }
    conn.execute(query, values)


def _log_change(conn: Connection, source: str, external_id: str, change: Change) -> None:
    query = """
        INSERT INTO shop.sync_log (source, external_id, change, version, message_id)
        SELECT source, external_id, %(change)s, version, %(job)s
          FROM shop.sync_records
         WHERE source = %(source)s AND external_id = %(id)s
    """
    current = current_job()
    job = None if current is None else current.message_id
    conn.execute(query, {"source": source, "id": external_id, "change": change, "job": job})
