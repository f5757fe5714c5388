"""Check that a relay, periodic jobs and retention keep up, and that no job is dead."""

from collections.abc import Iterator
from datetime import timedelta

from workshed.console.doctor.context import DoctorContext
from workshed.console.formatting import format_duration, format_job_count
from workshed.console.operations import problems
from workshed.console.operations.finding import Finding, ok, warning
from workshed.database.postgres import database_now
from workshed.jobs.control import queues
from workshed.jobs.dead import dead_jobs
from workshed.jobs.maintenance import retention
from workshed.jobs.outbox import claims, relays
from workshed.jobs.periodic import periodic_jobs

LATE = timedelta(seconds=10)
SHOWN_GROUPS = 3
BEHIND = timedelta(days=1)
"""Relays delete expired records every hour."""
A_DAY = timedelta(days=1)
OVERDUE = timedelta(seconds=30)
"""A relay looks for missed runs every 5 s."""


def check_relay(here: DoctorContext) -> Iterator[Finding]:
    """Check that a relay is running and keeps up."""
    with here.connect() as conn:
        beat, lag = relays.last_beat_age(conn), claims.oldest_due_age(conn)
    if trouble := problems.judge_relay(beat):
        yield trouble
    elif lag > LATE:
        said = f"a relay is running, but the oldest due job has waited for {format_duration(lag)}"
        yield warning(said, "workshed scheduled  (then see the relay's log)")
    else:
        yield ok(f"a relay is running; the oldest due job has waited for {format_duration(lag)}")


def check_periodic(here: DoctorContext) -> Iterator[Finding]:
    """Check that the runs of periodic jobs are created, and that workers have their actors."""
    with here.connect() as conn:
        found, now = periodic_jobs.list_periodic_jobs(conn), database_now(conn)
    awake = [job for job in found if job.paused_at is None]
    late = problems.judge_clock(found, now, OVERDUE)
    gone = [job.name for job in awake if not job.live]
    if late:
        yield late
    if gone:
        said = f"no running worker has {', '.join(gone)}: no runs are created"
        yield warning(said, "workshed periodic  (then start a worker that has it)")
    if not (late or gone):
        yield ok(f"periodic: {format_job_count(len(found))}, {len(found) - len(awake)} paused")


def check_dead_jobs(here: DoctorContext) -> Iterator[Finding]:
    """Count dead jobs."""
    with here.connect() as conn:
        groups = dead_jobs.group_by_error(conn)
    if not groups:
        yield ok("no job is dead")
        return
    most = ", ".join(f"{one.count} of {one.error_class or '-'}" for one in groups[:SHOWN_GROUPS])
    more = ", …" if len(groups) > SHOWN_GROUPS else ""
    said = f"dead: {format_job_count(sum(one.count for one in groups))} ({most}{more})"
    yield warning(said, "workshed dead list --group")


def check_once(here: DoctorContext) -> Iterator[Finding]:
    """Check that jobs with `once=True` write in their transaction."""
    with here.connect() as conn:
        found = problems.judge_unused_once(queues.list_unused_once(conn, A_DAY), A_DAY)
    yield found or ok("once: jobs with once=True have used their transaction")


def check_retention(here: DoctorContext) -> Iterator[Finding]:
    """Check that relays delete expired records."""
    with here.connect() as conn:
        ages = retention.pruned_ages(conn)
    behind = {name: age for name, age in ages.items() if age > BEHIND}
    if behind:
        longest = format_duration(max(behind.values()))
        said = f"expired records are not deleted: {', '.join(behind)}, for up to {longest}"
        yield warning(said, "start a relay of this release (workshed relay), or read its log")
    else:
        longest = format_duration(max(ages.values(), default=timedelta()))
        yield ok(f"retention: relays have deleted all expired records within {longest}")
