"""Report each business day to the active admins."""

import logging
from datetime import timedelta

from shop import reports
from shop.settings import settings
from workshed import actor, db, schedule
from workshed.contrib import mail
from workshed.cronspec import daily

logger = logging.getLogger(__name__)


@actor(queue="low", time_limit=timedelta(minutes=10))
def cleanup_old_reports() -> None:
    """Delete reports, and the mails that delivered them, after their retention.

    Idempotent: a second run skips what the other deletes, and finds the rest deleted.
    On crash: what was deleted is committed; the next run continues.
    """
    deleted = reports.prune_reports(settings().report_retention)
    logger.info("deleted %s", ", ".join(f"{count} {name}" for name, count in deleted.items()))


@actor(
    queue="scheduled",
    time_limit=timedelta(minutes=10),
    max_retries=8,  # the last one after about an hour
    periodic=daily(settings().report_time, tz=settings().report_time_zone or None, misfire="all"),
    needs="shop",
)
def daily_report(date: str | None = None) -> None:
    """Store the numbers of a business day, and mail them to each active admin.

    Without a date, it reports the day before the time for which this run is scheduled.

    Idempotent: the numbers of a day are stored once, and so is each admin's mail about it.
    On crash: the numbers stay, and the next run mails them; the mails commit together with the jobs
    that deliver them.
    """
    with db.transaction() as conn:
        day = reports.resolve_day(conn, date, settings().report_zone)
    report = reports.get_or_create(day)
    files = reports.store_attachments(report)
    with db.transaction() as conn:
        for email_id in reports.store_mails(conn, report, files):
            mail.deliver_stored(conn, email_id)
        schedule.send(conn, cleanup_old_reports.message())
