"""The age of the last daily report; relays import this, so it does not import `shop.reports`."""

from datetime import timedelta

from workshed import migrate
from workshed.db import Connection

JOB = "daily_report"
SEEN_WITHIN = timedelta(days=1)
"""If no worker has had the job for this long, it was removed, and no report is expected."""


def find_report_age(conn: Connection) -> timedelta | None:
    """Return the time since the last day with a report ended; `None` if none is expected.

    If there is no report yet, it is the time since the tables were created.
    """
    if not migrate.is_applied(conn, "shop"):
        return None
    query = """
        SELECT workshed.now() - coalesce(
                   (SELECT max(ends_at) FROM shop.daily_report_snapshots),
                   (SELECT applied_at FROM workshed.migrations
                     WHERE stream = 'shop' AND name = '0001_baseline'))
          FROM workshed.periodic_jobs
         WHERE name = %s AND paused_at IS NULL AND seen_at > workshed.now() - %s
    """
    row = conn.execute(query, (JOB, SEEN_WITHIN)).fetchone()
    return row[0] if row else None
