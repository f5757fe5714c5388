"""How old the last daily report is, for relays, which need nothing that makes one."""

from datetime import timedelta

from workshed import migrate
from workshed.db import Connection

JOB = "daily_report"
HAD_WITHIN = timedelta(days=1)
"""Where no worker had the job for this long, its release is gone, and nobody expects a report."""


def find(conn: Connection) -> timedelta | None:
    """Return how long ago the last day ended that has a report; `None` where none is expected.

    Where there is none yet, since when there could have been one: its table was made.
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
    row = conn.execute(query, (JOB, HAD_WITHIN)).fetchone()
    return row[0] if row else None
