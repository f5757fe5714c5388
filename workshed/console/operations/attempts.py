"""The attempts of a job, merged from its runs and its failed attempts."""

from datetime import datetime

from workshed.console.operations.timeline import KnownJob
from workshed.jobs.history.attempts import Attempt
from workshed.jobs.history.runs import Run
from workshed.value_class import value_class


@value_class
class JobAttempt:
    """An attempt; fields that only the history has are `None` if it lacks the run."""

    attempt: int
    outcome: str
    worker: str | None
    started_at: datetime | None
    ended_at: datetime
    queue_wait_s: float | None
    duration_s: float | None
    reason: str
    error_class: str | None
    error: str | None
    traceback: str | None
    release: str | None


def list_attempts(known: KnownJob) -> list[JobAttempt]:
    """Return the attempts of a job, the oldest first."""
    failed = {(one.generation, str(one.outcome)): one for one in known.attempts}
    found = [_from_run(run, failed.pop((run.generation, run.outcome), None)) for run in known.runs]
    return sorted([*found, *map(_from_failure, failed.values())], key=lambda one: one.ended_at)


def _from_run(run: Run, failed: Attempt | None) -> JobAttempt:
    return JobAttempt(
        attempt=run.attempt,
        outcome=run.outcome,
        worker=run.worker,
        started_at=run.started_at,
        ended_at=run.ended_at,
        queue_wait_s=run.queue_wait_s,
        duration_s=run.duration_s,
        reason=run.reason,
        error_class=run.error_class or (failed.error_class if failed else None),
        error=run.error or (failed.error if failed else None),
        traceback=run.traceback or (failed.traceback if failed else None),
        release=run.release or None,
    )


def _from_failure(one: Attempt) -> JobAttempt:
    return JobAttempt(
        attempt=one.attempt,
        outcome=one.outcome,
        worker=None,
        started_at=None,
        ended_at=one.ended_at,
        queue_wait_s=None,
        duration_s=None,
        reason=one.reason,
        error_class=one.error_class,
        error=one.error,
        traceback=one.traceback,
        release=None,
    )
