"""What is known of one job, in the order in which it happened."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from console.cli.body import parsed
from console.redaction import without_secrets
from console.waiting import Waiting
from console.waiting import get as get_waiting
from console.words import seconds
from workshed.db import Connection
from workshed.jobs import attempts, cancels, dead, runs
from workshed.jobs.attempts import Attempt
from workshed.jobs.dead import Dead
from workshed.jobs.runs import Run

ORIGINS = {"transaction": "in a transaction", "cron": "by the calendar"}
NO_ENDS = ("sent", "due", "started", "absorbed")
KINDS = {
    "retried": "retried",
    "dead": "dead",
    "expired": "dead",
    "killed": "dead",
    "discarded": "discarded",
    "cancelled": "discarded",
    "skipped": "discarded",
}
"""What an outcome of a run is called in `jobs.attempts`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job, or is to happen."""

    at: datetime
    what: str
    details: str


@dataclass(frozen=True, slots=True)
class Known:
    """All rows about one job."""

    message_id: str
    waiting: Waiting | None
    dead: Dead | None
    runs: list[Run]
    attempts: list[Attempt]
    """Each that failed, and each discard; `runs` may lack some of them."""
    cancelled: bool

    @property
    def is_known(self) -> bool:
        """Tell whether there is anything."""
        return bool(self.waiting or self.dead or self.runs or self.attempts or self.cancelled)

    @property
    def state(self) -> str:
        """Say where it is now: `waits`, `dead`, or how it ended as far as is known."""
        if self.waiting is not None:
            return self.waiting.state
        if self.dead is not None:
            return "dead"
        ends = [event.what for event in self.timeline if event.what not in NO_ENDS]
        return ends[-1] if ends else "cancelled" if self.cancelled else "unknown"

    @property
    def row(self) -> Waiting | Dead | None:
        """The row that has its message, if any."""
        return self.waiting or self.dead

    @property
    def timeline(self) -> list[Event]:
        """What happened, the first first; times are by the clocks of who tells them."""
        return sorted(self._events(), key=lambda event: event.at)

    def _events(self) -> Iterator[Event]:
        yield from self._sent()
        for run in self.runs:
            yield from _ran(run)
        told = {(run.hop, KINDS.get(run.outcome)) for run in self.runs}
        for one in self.attempts:
            if (one.hop, one.outcome) not in told:
                yield Event(one.ended_at, one.outcome, one.reason)
        died = self.dead
        hops = {run.hop for run in self.runs} | {one.hop for one in self.attempts}
        if died is not None and died.hop not in hops:
            yield Event(died.died_at, "dead", died.reason)
        if self.waiting is not None and self.waiting.state == "waits":
            yield Event(self.waiting.due_at, "due", f"it waits for this ({self.waiting.reason})")

    def _sent(self) -> Iterator[Event]:
        sent, options = self._origin()
        if sent is None:
            return
        details = [ORIGINS.get(str(options.get("origin")), "directly")]
        if options.get("parent"):
            details.append(f"by job {options['parent']}")
        yield Event(sent, "sent", ", ".join(details))
        due = options.get("due")
        if isinstance(due, int):
            at = datetime.fromtimestamp(due / 1000, UTC)
            if at > sent + timedelta(seconds=1):
                yield Event(at, "due", "it was delayed until then")

    def _origin(self) -> tuple[datetime | None, dict[str, Any]]:
        """Return when it was sent and with which options, from whatever row tells."""
        fields = None if self.row is None else parsed(self.row.body)
        if isinstance(fields, dict) and isinstance(fields.get("message_timestamp"), int):
            sent = datetime.fromtimestamp(fields["message_timestamp"] / 1000, UTC)
            options = fields.get("options")
            return sent, options if isinstance(options, dict) else {}
        if self.runs:
            first = self.runs[0]
            return first.sent_at, {"origin": first.origin, "parent": first.parent}
        return None, {}


def get(conn: Connection, message_id: str) -> Known:
    """Collect it; secret arguments are hidden."""
    waiting, died = get_waiting(conn, message_id), dead.get(conn, message_id)
    return Known(
        message_id=message_id,
        waiting=without_secrets(conn, [waiting])[0] if waiting else None,
        dead=without_secrets(conn, [died])[0] if died else None,
        runs=runs.of_message(conn, message_id),
        attempts=attempts.of_message(conn, message_id),
        cancelled=cancels.is_cancelled(conn, message_id),
    )


def _ran(run: Run) -> Iterator[Event]:
    if run.started_at is not None:
        started = f"attempt {run.attempt} on {run.worker}"
        if run.waited_s is not None:
            started += f", after {seconds(run.waited_s)} in {run.queue}"
        yield Event(run.started_at, "started", started)
    details = []
    if run.took_s is not None:
        details.append(f"ran for {seconds(run.took_s)}")
    if run.again_s is not None:
        details.append(f"again in {seconds(run.again_s)}")
    if run.reason:
        details.append(run.reason)
    yield Event(run.ended_at, run.outcome, "; ".join(details))
