"""The sources, and the circuit breaker that protects a failing one.

A source that fails five times in a row, or says when to retry, is held: until that time no job
calls it, and no job uses up an attempt. Then a single job calls it; depending on the result, the
source is released or held for longer.
"""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from shop.settings import settings
from shop.sync import addresses
from shop.sync.errors import SourceBusyError, SourceError
from workshed import db
from workshed.db import Connection
from workshed.jobs import RecordMissing, Snooze

logger = logging.getLogger(__name__)

FAILURE_THRESHOLD = 5
FIRST_OPEN_TIME, LONGEST_OPEN_TIME = timedelta(seconds=30), timedelta(minutes=15)
PROBE_TIME = timedelta(seconds=150)
"""Longer than an exchange may take, including the lookup of the address."""
SHORTEST_SNOOZE, LONGEST_SNOOZE = timedelta(seconds=1), timedelta(minutes=15)
"""Limits for the wait of jobs; a held source may be released earlier, by the job that probes it."""


@dataclass(frozen=True, slots=True)
class SyncSource:
    """A row of `shop.sync_sources`, for display."""

    name: str
    url: str
    created_at: datetime
    listing_since: datetime | None
    last_success_at: datetime | None
    failed_runs: int
    failing_since: datetime | None
    last_error: str | None
    circuit_open_until: datetime | None
    skipped: int
    """Items of its last listing that could not be synced."""
    now: datetime
    """PostgreSQL's clock, to compare the other times with."""


@dataclass(frozen=True, slots=True)
class FetchPermit:
    """Permission to call a source once."""

    name: str
    url: str
    issued_at: datetime
    """When it was given, by PostgreSQL's clock; the answer reflects a later state of the source."""
    failures: int
    is_circuit_open: bool


def add(conn: Connection, name: str, url: str) -> None:
    """Add a source, or change its URL.

    Raises `ForbiddenAddressError` if `SHOP_SYNC_ORIGINS` does not name its host.
    """
    addresses.require_allowed_origin(name, url, settings().sync_origins)
    query = """
        INSERT INTO shop.sync_sources (name, url) VALUES (%s, %s)
            ON CONFLICT (name) DO UPDATE SET url = excluded.url
    """
    conn.execute(query, (name, url))


def remove(conn: Connection, name: str) -> bool:
    """Delete a source with all of its records; False if there is none.

    Lines of the log stay until they are pruned. Waiting jobs of it are discarded when they start.
    """
    query = "DELETE FROM shop.sync_sources WHERE name = %s"
    return conn.execute(query, (name,)).rowcount == 1


def list_sources(conn: Connection) -> list[SyncSource]:
    """Return all sources, ordered by name."""
    query = """
        SELECT name, url, created_at, listing_since, last_success_at, failed_runs, failing_since,
               last_error, circuit_open_until, workshed.now() AS now,
               (SELECT count(*) FROM shop.sync_skipped WHERE source = name) AS skipped
          FROM shop.sync_sources
         ORDER BY name
    """
    with conn.cursor(row_factory=class_row(SyncSource)) as cur:
        return cur.execute(query).fetchall()


def count_records(conn: Connection) -> dict[str, int]:
    """Return the number of records of each source that has any."""
    query = """
        SELECT source, count(*)
          FROM shop.sync_records
         WHERE deleted_at IS NULL AND version IS NOT NULL
         GROUP BY source
    """
    return dict(conn.execute(query).fetchall())


def list_source_names(conn: Connection) -> list[str]:
    """Return the names of all sources."""
    query = "SELECT name FROM shop.sync_sources ORDER BY name"
    return [name for (name,) in conn.execute(query)]


def close_circuit(conn: Connection, name: str) -> bool:
    """End the hold of a source now, so that it is called again; False if it is not held."""
    query = """
        UPDATE shop.sync_sources
           SET circuit_opened_at = workshed.now(), circuit_open_until = workshed.now()
         WHERE name = %s AND circuit_open_until > workshed.now()
    """
    return conn.execute(query, (name,)).rowcount == 1


def acquire_permit(conn: Connection, name: str) -> FetchPermit:
    """Return a permit to call a source.

    Raises `Snooze` while it is held, and `RecordMissing` if there is no such source.
    """
    query = """
        SELECT name, url, workshed.now() AS since, failures, circuit_open_until IS NOT NULL AS held,
               circuit_open_until - workshed.now()
          FROM shop.sync_sources
         WHERE name = %s
    """
    row = conn.execute(query, (name,)).fetchone()
    if row is None:
        raise RecordMissing("source", name)
    *fields, left = row
    leave = FetchPermit(*fields)
    if not leave.is_circuit_open:
        return leave
    if left > timedelta() or not _half_open(conn, leave):
        # Spread the jobs over time, and keep the number of retries low.
        share = left * random.uniform(0.5, 1)  # noqa: S311
        raise Snooze(min(max(share, SHORTEST_SNOOZE), LONGEST_SNOOZE), f"{name} is held")
    return leave


def _half_open(conn: Connection, leave: FetchPermit) -> bool:
    """Claim the probe of a held source; return False if another job has it."""
    query = """
        UPDATE shop.sync_sources
           SET circuit_opened_at = %(since)s, circuit_open_until = %(since)s + %(probe)s
         WHERE name = %(name)s AND circuit_open_until <= %(since)s
    """
    values = {"name": leave.name, "since": leave.issued_at, "probe": PROBE_TIME}
    return conn.execute(query, values).rowcount == 1


@contextmanager
def recording_result(leave: FetchPermit) -> Iterator[None]:
    """Record the result of a request inside the block; call it without an open transaction."""
    try:
        yield
    except SourceError as err:
        try:
            with db.transaction() as conn:
                _record_failure(conn, leave, err)
        except db.TRANSIENT_ERRORS as lost:  # the original error must be raised
            logger.warning("%s: could not record its failure: %s", leave.name, str(lost).strip())
        raise
    if leave.failures or leave.is_circuit_open:
        with db.transaction() as conn:
            _record_success(conn, leave)


def _record_success(conn: Connection, leave: FetchPermit) -> None:
    """Release a source, unless its hold began after this request."""
    query = """
        UPDATE shop.sync_sources
           SET failures = 0, circuit_opened_at = NULL, circuit_open_until = NULL
         WHERE name = %(name)s AND (circuit_opened_at IS NULL OR circuit_opened_at <= %(since)s)
    """
    conn.execute(query, {"name": leave.name, "since": leave.issued_at})


def _record_failure(conn: Connection, leave: FetchPermit, error: SourceError) -> None:
    """Count a failure, and hold the source if there were too many, or if it asks for that.

    An error that does not concern the source as a whole, such as a record of the wrong form, does
    not start a hold. It ends a hold only if this request was its probe.
    """
    query = """
        WITH judged AS (
            SELECT name, failures + %(counts)s::int AS failures,
                   CASE
                       WHEN %(asked)s::interval IS NOT NULL THEN %(asked)s
                       WHEN %(counts)s AND failures + 1 >= %(trips_at)s
                       THEN least(%(first)s * power(2, least(failures + 1 - %(trips_at)s, 20)),
                                  %(longest)s)
                   END AS rest
              FROM shop.sync_sources
             WHERE name = %(name)s
               FOR UPDATE)
        UPDATE shop.sync_sources AS s
           SET failures = judged.failures,
               circuit_opened_at = CASE WHEN rest IS NOT NULL THEN workshed.now()
                              WHEN circuit_opened_at = %(since)s THEN NULL
                              ELSE circuit_opened_at END,
               circuit_open_until = CASE WHEN rest IS NOT NULL AND circuit_opened_at = %(since)s
                                 THEN workshed.now() + rest
                                 WHEN rest IS NOT NULL THEN greatest(circuit_open_until,
                                                                     workshed.now() + rest)
                                 WHEN circuit_opened_at = %(since)s THEN NULL
                                 ELSE circuit_open_until END
          FROM judged
         WHERE s.name = judged.name
    """
    values = {
        "name": leave.name,
        "since": leave.issued_at,
        "counts": error.is_source_wide,
        "asked": error.delay if isinstance(error, SourceBusyError) else None,
        "trips_at": FAILURE_THRESHOLD,
        "first": FIRST_OPEN_TIME,
        "longest": LONGEST_OPEN_TIME,
    }
    conn.execute(query, values)
