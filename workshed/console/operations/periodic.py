"""Periodic jobs with their last runs, for commands and pages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from workshed.console.errors import NotFoundError
from workshed.console.operations.operation import Operation
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import PeriodicJob
from workshed.jobs.periodic.periodic_runs import PeriodicRun
from workshed.settings import settings
from workshed.transport.errors import did_you_mean
from workshed.value_class import value_class


@value_class
class PeriodicJobState:
    """A periodic job with its last run."""

    job: PeriodicJob
    last_run: PeriodicRun | None
    outcome: str | None
    """The outcome of the last run, if it is known."""

    @property
    def next_at_local(self) -> datetime:
        """The next scheduled time, in its time zone; also while it is paused."""
        return self.job.next_at.astimezone(ZoneInfo(self.job.zone))

    @property
    def next_at(self) -> datetime | None:
        """When it runs next; `None` while it is paused or no worker has it."""
        return None if self.job.paused_at or not self.job.live else self.job.next_at


def list_states(conn: Connection) -> list[PeriodicJobState]:
    """Return all periodic jobs by name."""
    last = periodic_runs.latest_runs(conn)
    found = periodic_runs.outcomes_of(conn, last.values(), settings().deduplication_retention)
    return [
        PeriodicJobState(job, last.get(job.name), last_outcome(last.get(job.name), found))
        for job in periodic_jobs.list_periodic_jobs(conn)
    ]


def last_outcome(run: PeriodicRun | None, found: Mapping[str, str]) -> str | None:
    """Return the outcome of a run, from `found`, which maps message ids to outcomes."""
    if run is None or run.message_id is None:
        return None if run is None else "not sent: another job held its unique key"
    return found.get(run.message_id)


def require_jobs(conn: Connection, names: Iterable[str]) -> list[PeriodicJob]:
    """Return the jobs of these names; raises `NotFoundError` before anything is written."""
    jobs = {job.name: job for job in periodic_jobs.list_periodic_jobs(conn)}
    for name in names:
        if name not in jobs:
            raise NotFoundError(
                f"no periodic job {name!r}{did_you_mean(name, jobs)}; there are "
                f"{', '.join(jobs) or 'none: workers and clocks register theirs when they start'}"
            )
    return [jobs[name] for name in dict.fromkeys(names)]


def describe_run(run: PeriodicRun | None) -> str:
    """Return the result of a run that an operator requested."""
    if run is None:
        return "another run was just sent"
    return (
        f"job {run.blocked_by} holds its unique key"
        if run.blocked_by
        else f"sent as {run.message_id}"
    )


def as_data(one: PeriodicJobState) -> dict[str, Any]:
    """Return a periodic job for JSON output."""
    last = None if one.last_run is None else asdict(one.last_run) | {"outcome": one.outcome}
    return asdict(one.job) | {"next_at": one.next_at, "last": last}


def _find_jobs(conn: Connection, names: Sequence[str]) -> dict[str, PeriodicJob]:
    """Return jobs by name, sorted, because operations lock them in that order."""
    return {job.name: job for job in require_jobs(conn, sorted(names))}


def _run_job(conn: Connection, job: PeriodicJob) -> str:
    answer = describe_run(periodic_runs.create_run_now(conn, job.name))
    is_waiting = answer.startswith("sent") and not job.live
    return f"{answer}, and waits for a worker that has it" if is_waiting else answer


def _pause_job(conn: Connection, job: PeriodicJob) -> str:
    periodic_jobs.pause_job(conn, job.name)
    return "was paused" if job.paused_at else "paused"


def _resume_job(conn: Connection, job: PeriodicJob) -> str:
    try:
        return "resumed" if periodic_jobs.resume_job(conn, job) else "was not paused"
    except ValueError as err:
        raise WorkshedError(f"{job.name} cannot be resumed by this release: {err}") from err


RUN = Operation("periodic.run", "name", _find_jobs, _run_job, changed={"sent as": ""})
PAUSE = Operation(
    "periodic.pause",
    "name",
    _find_jobs,
    _pause_job,
    changed={"paused": "Runs due during the pause are skipped; jobs already sent still run."},
    unchanged=("was paused",),
)
RESUME = Operation(
    "periodic.resume",
    "name",
    _find_jobs,
    _resume_job,
    changed={"resumed": "The next run is at the next scheduled time."},
    unchanged=("was not paused",),
)
