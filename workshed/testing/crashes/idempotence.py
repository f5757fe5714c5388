"""Check idempotence: a job that is delivered twice or after a crash must have the same effects."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from workshed.database.postgres import database_now
from workshed.db import Connection
from workshed.testing import enqueued
from workshed.testing.database import catalog, maildir
from workshed.testing.database.checkpoint import Checkpoint
from workshed.testing.database.clock import KitClock
from workshed.testing.database.connections import Connections
from workshed.testing.database.failpoints import Failpoints
from workshed.testing.database.snapshot import (
    DatabaseSnapshot,
    Row,
    TableContent,
    describe_differences,
)
from workshed.testing.errors import DiedError, EndlessError
from workshed.testing.fake_broker import FakeBroker, KitRun, SimulatedCrash
from workshed.transport.publishing.outgoing import Message
from workshed.value_class import value_class

MOST_RUNS = 1_000
"""The most jobs that may run until everything is done."""
TERMINATION_MS = 10_000
HINT = (
    "To leave out a value that always differs, such as a random token, name its column or table "
    "in `ignore=[…]`."
)


@dataclass(frozen=True, slots=True)
class IdempotenceReport:
    """The checks that a job has passed."""

    failpoints: Sequence[str]
    """The places at which its process crashed, once each."""
    repeated_mails: int
    """Mails that were sent again with the same Message-ID, in all of these runs."""


@value_class
class RunEffects:
    """The effects of a run."""

    contents: Sequence[TableContent]
    repeated_mails: int


class IdempotenceCheck:
    """Runs a job repeatedly from the same starting state."""

    def __init__(
        self,
        broker: FakeBroker,
        conn: Connection,
        clock: KitClock,
        connections: Connections,
        folder: Path,
        run_next: Callable[[], KitRun | None],
    ) -> None:
        """Take the kit's own `conn`, the job's `connections`, and the `folder` of its files."""
        self._broker = broker
        self._conn = conn
        self._clock = clock
        self._connections = connections
        self._folder = folder
        self._run_next = run_next

    def run(self, message: Message, ignore: Sequence[str]) -> IdempotenceReport:
        """Raise `AssertionError` if the job's effects differ from those of one run.

        An error of its first, undisturbed run is raised unchanged.
        """
        tables = catalog.truncatable_tables(self._conn)
        contents = DatabaseSnapshot(self._conn, tables, ignore)
        repeated, before = 0, self._repeated_mails()
        with Checkpoint(self._conn, tables, self._clock, self._folder) as start:
            points = Failpoints()
            runs = self._deliver(message, points)
            if died := _first_death(runs):
                raise died.outcome.error or DiedError(f"{died.title}: {died.outcome.reason}")
            wanted = self._collect_effects(contents, runs)
            for how, number in _list_trials(points.names):
                start.restore()
                runs = self._deliver(message, Failpoints(number), again=True)
                if died := _first_death(runs):
                    reason = f"{died.title} died: {died.outcome.reason}"
                    raise AssertionError(_failure(message, how, reason)) from died.outcome.error
                found = self._collect_effects(contents, runs)
                repeated += found.repeated_mails - before
                if wrong := describe_differences(wanted.contents, found.contents):
                    reason = "it leaves other data than a single run"
                    raise AssertionError(_failure(message, how, reason, "", *wrong, "", HINT))
        return IdempotenceReport(tuple(points.names), repeated)

    def _deliver(
        self, message: Message, points: Failpoints, *, again: bool = False
    ) -> list[KitRun]:
        """Deliver it, and once more if `again`; return these runs and those that followed."""
        runs: list[KitRun] = []
        self._connections.failpoints = points
        try:
            runs.append(self._broker.deliver(message, points.watch(), again=False))
        except SimulatedCrash:
            self._lose_connections()
        finally:
            self._connections.failpoints = None
        if runs:
            self._run_to_end(message, runs)
        if again:
            runs.append(self._broker.deliver(message, nullcontext(), again=True))
            self._run_to_end(message, runs)
        return runs

    def _run_to_end(self, message: Message, runs: list[KitRun]) -> None:
        """Run what is due; if the job itself waits for a retry or a claim, advance the clock."""
        while True:
            while run := self._run_next():
                runs.append(run)
                if len(runs) > MOST_RUNS:
                    raise EndlessError(f"{MOST_RUNS} jobs have run, and {message} has not ended")
            waiting = [
                j for j in enqueued.list_enqueued(self._conn) if j.message_id == message.message_id
            ]
            if not waiting:
                return
            self._clock.advance(waiting[0].due_at - database_now(self._conn))

    def _lose_connections(self) -> None:
        """Wait until PostgreSQL has rolled back the transactions of the crashed process."""
        for pid in self._connections.disconnect():
            self._conn.execute("SELECT pg_terminate_backend(%s, %s)", (pid, TERMINATION_MS))

    def _repeated_mails(self) -> int:
        sent = maildir.read_mails(self._folder / maildir.NAME)
        return len(sent) - len(_distinct_mails(sent))

    def _collect_effects(self, contents: DatabaseSnapshot, runs: Iterable[KitRun]) -> RunEffects:
        sent = maildir.read_mails(self._folder / maildir.NAME)
        distinct = _distinct_mails(sent)
        ids = {job.message_id for job in enqueued.list_enqueued(self._conn)}
        ids |= {run.message.message_id for run in runs}
        found = [*contents.read(ids), _mail_content(distinct)]
        return RunEffects(found, len(sent) - len(distinct))


def _list_trials(points: Iterable[str]) -> list[tuple[str, int]]:
    """Describe each trial, with the number of the place at which the job crashes; 0: none."""
    crashes = [f"crashed {point} and delivered again" for point in points]
    return [(how, number) for number, how in enumerate(["delivered a second time", *crashes])]


def _first_death(runs: Iterable[KitRun]) -> KitRun | None:
    return next((run for run in runs if run.outcome.is_dead), None)


def _failure(message: Message, how: str, reason: str, *lines: str) -> str:
    return "\n".join([f"{message} is not idempotent: {how}, {reason}", *lines])


def _distinct_mails(sent: Sequence[EmailMessage]) -> list[EmailMessage]:
    """Return the mails without those that were sent again with the same Message-ID."""
    return list({mail["Message-ID"] or f"mail {n}": mail for n, mail in enumerate(sent)}.values())


def _mail_content(found: Iterable[EmailMessage]) -> TableContent:
    """Count mails by recipient and subject."""
    counted: Counter[Row] = Counter((str(mail["To"]), str(mail["Subject"])) for mail in found)
    return TableContent("mails", ("to", "subject"), counted)
