"""One record of a source: fetched, and written with all that belongs to it; the newer one wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from shop.sync import answers, sources
from shop.sync.answers import Association, Record
from shop.sync.client import ask
from shop.sync.errors import RefusedRequestError
from shop.sync.sources import FetchPermit
from workshed.db import Connection
from workshed.jobs import RecordMissing
from workshed.jobs.context import current_job

Change = Literal["created", "updated", "restored", "deleted"]

GONE = (404, 410)


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """What we have of a record."""

    version: int | None
    """`None`: it was never fetched."""
    missing_since: datetime | None
    deleted_at: datetime | None


def fetch(leave: FetchPermit, external_id: str) -> Record | None:
    """Fetch a record; call it with no transaction open. `None`: the source has none.

    Raises a `SourceError`, and `RecordMissing` for what can be no record's id.
    """
    if not answers.is_id(external_id):
        raise RecordMissing(f"record of {leave.name}", external_id)
    try:
        with sources.asking(leave):
            answer = ask(leave.name, leave.url, f"records/{external_id}")
            return answers.record(leave.name, external_id, answer)
    except RefusedRequestError as err:
        if err.status in GONE:
            return None
        raise


def write(
    conn: Connection, leave: FetchPermit, external_id: str, record: Record | None
) -> Change | None:
    """Write what a record has become, its associations and the line of the log.

    `None`, and nothing written, where ours is as new. Raises `RecordMissing` where the source has
    none that anybody but the caller has heard of.
    """
    stored = _stored(conn, leave.name, external_id)
    change = judge(stored, None if record is None else record.version, leave.since)
    if record is None and change is None and stored.deleted_at is None:
        raise RecordMissing(f"record of {leave.name}", external_id)
    if change is None and record is not None and stored.missing_since is not None:
        _found(conn, leave.name, external_id)
    if change is not None:
        if record is None:
            _delete(conn, leave.name, external_id)
        else:
            _write(conn, leave, record)
        _associate(conn, leave.name, external_id, () if record is None else record.associations)
        _log(conn, leave.name, external_id, change)
    return change


def judge(stored: StoredRecord, version: int | None, since: datetime) -> Change | None:
    """Say what is to be done with an answer, asked for at `since`; no version: there is none.

    Only what a whole listing lacked, and the source has not when it is asked after that, is gone.
    Of two versions the newer wins, in whatever order two jobs write. What was asked for before
    `deleted_at` is older than that; what was asked for later is there again, whatever its version,
    since a source may begin to count again.
    """
    if version is None:
        gone = stored.missing_since is not None and stored.missing_since < since
        return "deleted" if gone and stored.deleted_at is None else None
    if stored.deleted_at is not None:
        return "restored" if stored.deleted_at < since else None
    if stored.version is None:
        return "created"
    return "updated" if stored.version < version else None


def _stored(conn: Connection, source: str, external_id: str) -> StoredRecord:
    """Return what there is, locked until the transaction ends."""
    query = """
        INSERT INTO shop.sync_records (source, external_id) VALUES (%s, %s)
            ON CONFLICT (source, external_id)
            DO UPDATE SET external_id = excluded.external_id  -- changes nothing, but locks the row
        RETURNING version, missing_since, deleted_at
    """
    with conn.cursor(row_factory=class_row(StoredRecord)) as cur:
        return next(iter(cur.execute(query, (source, external_id))))


def _write(conn: Connection, leave: FetchPermit, record: Record) -> None:
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
        "since": leave.since,
    }
    conn.execute(query, values)


def _found(conn: Connection, source: str, external_id: str) -> None:
    """Note that a record which a listing lacked is there."""
    query = """
        UPDATE shop.sync_records SET missing_since = NULL
         WHERE source = %s AND external_id = %s AND deleted_at IS NULL
    """
    conn.execute(query, (source, external_id))


def _delete(conn: Connection, source: str, external_id: str) -> None:
    query = """
        UPDATE shop.sync_records SET deleted_at = workshed.now()
         WHERE source = %s AND external_id = %s
    """
    conn.execute(query, (source, external_id))


def _associate(
    conn: Connection, source: str, external_id: str, wanted: Sequence[Association]
) -> None:
    """Let a record have these associations and no others."""
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
        "kinds": [one.kind for one in wanted],
        "others": [one.id for one in wanted],
    }
    conn.execute(query, values)


def _log(conn: Connection, source: str, external_id: str, change: Change) -> None:
    query = """
        INSERT INTO shop.sync_log (source, external_id, change, version, message_id)
        SELECT source, external_id, %(change)s, version, %(job)s
          FROM shop.sync_records
         WHERE source = %(source)s AND external_id = %(id)s
    """
    current = current_job()
    job = None if current is None else current.message_id
    conn.execute(query, {"source": source, "id": external_id, "change": change, "job": job})
