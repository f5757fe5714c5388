"""The state of a source's runs, and the emails that notify the admins when they fail.

While a source is failing, each admin gets one email per window, however many jobs fail, and one
when it has recovered.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg.rows import class_row

from shop import compose, people
from shop.settings import settings
from shop.sync.errors import SourceError
from workshed.contrib.mail import stored_mails
from workshed.db import Connection
from workshed.jobs.history import attempts

ALERT_AFTER_RUNS = 4
"""The admins are notified after so many failed runs; of some errors after the first."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_FORMAT = "%Y-%m-%d %H:%M UTC"


@dataclass(frozen=True, slots=True)
class SourceFailure:
    """A source with its failed runs."""

    name: str
    failed_runs: int
    failing_since: datetime
    alerted: bool
    now: datetime


def record_failure(conn: Connection, error: SourceError) -> list[int]:
    """Record a failed run; return the ids of the alert emails to deliver."""
    query = """
        UPDATE shop.sync_sources
           SET failed_runs = failed_runs + 1,
               failing_since = COALESCE(failing_since, workshed.now()),
               last_error = %(error)s,
               alerted = alerted OR %(at_once)s OR failed_runs + 1 >= %(alert_from)s,
               listing_since = CASE WHEN NOT %(ends_listing)s THEN listing_since END
         WHERE name = %(name)s
        RETURNING name, failed_runs, failing_since, alerted, workshed.now() AS now
    """
    values = {
        "name": error.source,
        "error": attempts.to_storable(str(error))[: attempts.LONGEST_ERROR],
        "at_once": error.verdict != "retry",
        "alert_from": ALERT_AFTER_RUNS,
        "ends_listing": error.ends_listing,
    }
    with conn.cursor(row_factory=class_row(SourceFailure)) as cur:
        trouble = cur.execute(query, values).fetchone()
    if trouble is None or not trouble.alerted:
        return []
    times = "its run" if trouble.failed_runs == 1 else f"{trouble.failed_runs} runs in a row"
    since = f"{times} failed, since {trouble.failing_since:{TIME_FORMAT}}"
    return _store_alerts(conn, error.source, f"{type(error).__name__}: {error.reason}", since)


def record_dead_job(conn: Connection, source: str, reason: str) -> list[int]:
    """Store alerts that a job of a source is dead; return the ids of the emails to deliver."""
    return _store_alerts(conn, source, reason, "one of its jobs is dead")


def end_partial_listing(conn: Connection, source: str) -> None:
    """Record the end of a listing that was not started at its first page; it proves no success."""
    query = "UPDATE shop.sync_sources SET listing_since = NULL, cursor = NULL WHERE name = %s"
    conn.execute(query, (source,))


def record_success(conn: Connection, source: str) -> list[int]:
    """Record a complete listing; return the ids of the emails that announce a recovery."""
    query = """
        WITH before AS (
            SELECT name, failed_runs, failing_since, alerted, workshed.now() AS now
              FROM shop.sync_sources
             WHERE name = %(name)s
               FOR UPDATE)
        UPDATE shop.sync_sources AS s
           SET listing_since = NULL, cursor = NULL, failed_runs = 0, failing_since = NULL,
               last_error = NULL, alerted = false,
               last_success_at = workshed.now()
          FROM before
         WHERE s.name = before.name
        RETURNING before.*
    """
    with conn.cursor(row_factory=class_row(SourceFailure)) as cur:
        before = cur.execute(query, {"name": source}).fetchone()
    if before is None or not before.alerted:
        return []
    drafts = [
        compose.write_sync_recovered(admin, source, before.failing_since, before.now)
        for admin in people.lock_admins(conn)
    ]
    return stored_mails.store_new(conn, drafts)


def _store_alerts(conn: Connection, source: str, reason: str, since: str) -> list[int]:
    """Store this window's alert for each admin; return the ids of the emails that are new."""
    ((now,),) = conn.execute("SELECT workshed.now()").fetchall()
    span = settings().sync_alert_window
    window = EPOCH + (now - EPOCH) // span * span
    drafts = [
        compose.write_sync_failing(admin, source, reason, since, window)
        for admin in people.lock_admins(conn)
    ]
    return stored_mails.store_new(conn, drafts)
