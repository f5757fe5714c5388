"""Everything that is known of one job, as a timeline."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from workshed.console.formatting import format_seconds
from workshed.console.operations import running_jobs
from workshed.console.operations.environment import has_rabbitmq
from workshed.console.operations.message_body import decode_body
from workshed.console.operations.redaction import redact_rows
from workshed.console.operations.running_jobs import RunningJob
from workshed.console.operations.scheduled import WaitingJob
from workshed.console.operations.scheduled import get_scheduled as get_waiting
from workshed.database.postgres import Connection
from workshed.jobs.control import cancellations
from workshed.jobs.dead import dead_jobs as dead
from workshed.jobs.dead.dead_jobs import DeadJob
from workshed.jobs.history import attempts, runs
from workshed.jobs.history.attempts import Attempt
from workshed.jobs.history.runs import Run
from workshed.value_class import value_class

ORIGINS = {"transaction": "in a transaction", "cron": "by its schedule"}
TOLERANCE = timedelta(seconds=1)
NON_FINAL_EVENTS = ("sent", "due", "started", "duplicate")


def describe_unknown(message_id: str) -> str:
    """Say why nothing may be known of a job."""
    if has_rabbitmq():
        where = "it is on RabbitMQ, was never sent, or ended long ago"
        return f"no job {message_id!r} in PostgreSQL: {where}"
    return f"no job {message_id!r}: it was never sent, or ended long ago"


@value_class
class JobEvent:
    """Something that happened to a job, or is going to happen."""

    at: datetime
    what: str
    details: str
    after_s: float | None = None
    """Seconds since the event before it."""


@value_class
class KnownJob:
    """All rows about one job."""

    message_id: str
    waiting: WaitingJob | None
    dead: DeadJob | None
    runs: list[Run]
    attempts: list[Attempt]
    """Each failed attempt, and each discard; `runs` may lack some of them."""
    cancelled: bool
    running: RunningJob | None

    @property
    def is_known(self) -> bool:
        """Return whether any row is about this job."""
        rows = self.waiting or self.dead or self.runs or self.attempts or self.running
        return bool(rows or self.cancelled)

    @property
    def state(self) -> str:
        """Its state: `running`, `scheduled`, `dead`, and so on, or its outcome, as far as known."""
        if self.running is not None:
            return "running"
        if self.waiting is not None:
            return self.waiting.state
        if self.dead is not None:
            return "dead"
        ends = [event.what for event in self.timeline if event.what not in NON_FINAL_EVENTS]
        return ends[-1] if ends else "cancelled" if self.cancelled else "unknown"

    @property
    def row(self) -> WaitingJob | DeadJob | None:
        """The row with its message, if any."""
        return self.waiting or self.dead

    @property
    def timeline(self) -> list[JobEvent]:
        """The events, the oldest first; times come from the clocks of different processes."""
        events = sorted(self._events(), key=lambda event: event.at)
        gaps = [(b.at - a.at).total_seconds() for a, b in pairwise(events)]
        after = zip(events, [None, *gaps], strict=True) if events else ()
        return [replace(event, after_s=gap) for event, gap in after]

    @property
    def options(self) -> dict[str, Any]:
        """The options of its message, as far as they are known."""
        return self._origin()[1]

    def _events(self) -> Iterator[JobEvent]:
        yield from self._sent_events()
        for run in self.runs:
            yield from _run_events(run)
        run_ends = {(run.generation, run.outcome) for run in self.runs}
        for one in self.attempts:
            if (one.generation, one.outcome) not in run_ends:
                yield JobEvent(one.ended_at, one.outcome, one.reason)
        died = self.dead
        generations = {run.generation for run in self.runs} | {
            one.generation for one in self.attempts
        }
        if died is not None and died.generation not in generations:
            yield JobEvent(died.died_at, "dead", died.reason)
        if self.running is not None:
            yield JobEvent(self.running.since, "started", f"on {self.running.worker}; running")
        row = self.waiting
        if row is not None and row.state == "scheduled" and not self._has_same_due(row.due_at):
            yield JobEvent(row.due_at, "due", f"waits until then ({row.reason})")

    def _sent_events(self) -> Iterator[JobEvent]:
        sent, options = self._origin()
        if sent is None:
            return
        details = [ORIGINS.get(str(options.get("origin")), "directly")]
        if options.get("parent"):
            details.append(f"by job {options['parent']}")
        yield JobEvent(sent, "sent", ", ".join(details))
        due = _from_milliseconds(options.get("due"))
        if due is not None and due > sent + TOLERANCE:
            yield JobEvent(due, "due", "delayed until then")

    def _has_same_due(self, due_at: datetime) -> bool:
        """Return whether its message has the same due time, so that the job was not moved since."""
        due = _from_milliseconds(self._origin()[1].get("due"))
        return due is not None and abs(due - due_at) < TOLERANCE

    def _origin(self) -> tuple[datetime | None, dict[str, Any]]:
        """Return when it was sent and its options, from the row with its message or a run."""
        fields = None if self.row is None else decode_body(self.row.body)
        sent = (
            _from_milliseconds(fields.get("message_timestamp"))
            if isinstance(fields, dict)
            else None
        )
        if isinstance(fields, dict) and sent is not None:
            options = fields.get("options")
            return sent, options if isinstance(options, dict) else {}
        if self.runs:
            first = self.runs[0]
            return first.sent_at, {"origin": first.origin, "parent": first.parent}
        return None, {}


def load_job(conn: Connection, message_id: str) -> KnownJob:
    """Load all rows about a job; secret arguments are hidden."""
    runs_now = running_jobs.get_running(
        conn, message_id
    )  # first, because it may end while the rest is loaded
    waiting, died = get_waiting(conn, message_id), dead.get_dead_job(conn, message_id)
    known = KnownJob(
        message_id=message_id,
        waiting=redact_rows(conn, [waiting])[0] if waiting else None,
        dead=redact_rows(conn, [died])[0] if died else None,
        runs=runs.list_job_runs(conn, message_id),
        attempts=attempts.list_job_attempts(conn, message_id),
        cancelled=cancellations.is_cancelled(conn, message_id),
        running=None,
    )
    has_ended = runs_now is None or any(at >= runs_now.since for at in _end_times(known))
    return known if has_ended else replace(known, running=runs_now)


def _end_times(known: KnownJob) -> Iterator[datetime]:
    """Yield when its runs ended; the heartbeat of its worker may be older than that."""
    for run in known.runs:
        yield run.ended_at
    for one in known.attempts:
        yield one.ended_at
    if known.dead is not None:
        yield known.dead.died_at
    if known.waiting is not None and known.waiting.state == "scheduled":
        yield known.waiting.created_at


def _from_milliseconds(ms: Any) -> datetime | None:
    """Convert Unix milliseconds; an unreadable dead job may hold anything, which gives `None`."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _run_events(run: Run) -> Iterator[JobEvent]:
    if run.started_at is not None:
        started = f"attempt {run.attempt} on {run.worker}"
        if run.queue_wait_s is not None:
            started += f", after {format_seconds(run.queue_wait_s)} in {run.queue}"
        yield JobEvent(run.started_at, "started", started)
    details = []
    if run.duration_s is not None:
        details.append(f"ran for {format_seconds(run.duration_s)}")
    if run.retry_in_s is not None:
        details.append(f"again in {format_seconds(run.retry_in_s)}")
    if run.reason:
        details.append(run.reason)
    yield JobEvent(run.ended_at, run.outcome, "; ".join(details))
