"""Create the runs of periodic jobs that no clock created."""

import logging
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice

from workshed.cronspec import PeriodicSchedule
from workshed.database.postgres import Connection, database_now
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import PeriodicJob
from workshed.metrics import meters

logger = logging.getLogger(__name__)

POLL_S = 5.0
BATCH = 500
"""Most runs of a job that are created in one transaction, after a long outage."""
ONE_MICROSECOND = timedelta(microseconds=1)


def create_missed_runs(conn: Connection) -> float:
    """Create missed runs, within each job's misfire window; relays may run this in parallel.

    A relay imports no actors, so this uses only the rows, which contain each job's schedule.
    """
    more = False
    for name in periodic_jobs.list_due(conn):
        try:
            with conn.transaction():
                job = periodic_jobs.lock_due(conn, name)
                more |= job is not None and _catch_up(conn, job)
        except ValueError as err:  # a spec of a newer release; the other jobs continue
            logger.warning("%s is left to another relay: %s", name, err)
    return 0.0 if more else POLL_S


def _catch_up(conn: Connection, job: PeriodicJob) -> bool:
    """Create the missed runs of a job up to now; True if there are more than one batch."""
    spec, now = job.parse_schedule(), database_now(conn)
    late_from = max(job.next_at, now - job.misfire_window)
    times = list(runs_to_create(spec, late_from, now))
    if job.next_at not in times:
        first = times[0] if times else now
        logger.warning(
            "%s: missed runs planned from %s to %s are skipped, "
            "because of misfire=%r and misfire_window=%s",
            *(job.name, job.next_at, first, job.misfire_policy, job.misfire_window),
        )
    made = [
        periodic_runs.create_run(conn, job.name, scheduled_for, "catch_up")
        for scheduled_for in times
    ]
    more = spec.misfire != "once" and len(times) == BATCH
    periodic_jobs.advance_job(conn, job.name, spec.next_after(times[-1] if more else now))
    for one in filter(None, made):
        meters.PERIODIC_RUNS.add(job.name, "catch_up", amount=int(one.blocked_by is None))
        after_s = (now - one.scheduled_for).total_seconds()
        what = (
            f"not sent, because job {one.blocked_by} holds its unique key"
            if one.blocked_by
            else "created"
        )
        logger.info(
            "%s, planned for %s: %s, %.0f s late", job.name, one.scheduled_for, what, after_s
        )
    return more


def runs_to_create(spec: PeriodicSchedule, since: datetime, now: datetime) -> Iterable[datetime]:
    """Return the times from `since` on whose runs must still be created, by the misfire policy."""
    times = spec.times_between(since - ONE_MICROSECOND, now)
    return deque(times, maxlen=1) if spec.misfire == "once" else islice(times, BATCH)
