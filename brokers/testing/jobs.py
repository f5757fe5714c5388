"""The fixture `jobs`: what a test says to the kit."""

from collections.abc import Sequence
from typing import Any

from brokers.fake import Fake, Run
from brokers.stub import Stub
from brokers.testing import rows, text
from brokers.testing.errors import DiedError, EndlessError, KitError, NeedsDatabaseError
from brokers.testing.rows import Enqueued
from brokers.testing.sends import Sends
from brokers.testing.wanted import Actor, named
from workshed.db import Connection

LONGEST_DRAIN = 1_000
FAILED = ("retry", "dead")


class Jobs(Sends):
    """Jobs of one test: they wait in PostgreSQL, and run in this thread when the test says so."""

    def __init__(self, broker: Fake, conn: Connection) -> None:
        """`conn` is the kit's own, in autocommit: what is not committed, it does not see."""
        self._broker = broker
        self._conn = conn
        self._runs: list[Run] = []

    @property
    def enqueued(self) -> list[Enqueued]:
        """All that waits, in the order in which it will run."""
        return rows.waiting(self._conn)

    @property
    def runs(self) -> Sequence[Run]:
        """What has run in this test, the first one first."""
        return self._runs

    def perform(self, actor: Actor, /, *args: Any, **kwargs: Any) -> Any:
        """Run one job now, with arguments as JSON gives them back and all that is around a job.

        Returns what the actor returns, or raises what it raised; its outcome is stored as a
        worker's would be: a retry waits then. What it does not find is gone, as when it was sent
        in the transaction that wrote it. A discard or snooze raises nothing.
        """
        named(actor, args, kwargs)
        message = actor.message_with_options(args=args, kwargs=kwargs, origin="transaction")
        sent = self._broker.enqueue(message)
        if sent.message_id != message.message_id:
            raise KitError(f"{message} was not sent: {sent.message_id} has its unique key")
        run = self._run(message.message_id)
        if error := self._failure_of(run):
            raise error
        return None if run is None else run.result

    def drain(self, *, at_most: int = LONGEST_DRAIN) -> int:
        """Run all that is due, also what these jobs send, until nothing is; return how many ran.

        A job that fails does not keep the others from running, as in a worker; the first error is
        raised at the end. Raises `EndlessError` after `at_most` runs.
        """
        errors: list[BaseException] = []
        count = 0
        while run := self._run():
            count += 1
            if error := self._failure_of(run):
                errors.append(error)
            if count >= at_most and any(job.is_due for job in self.enqueued):
                raise EndlessError(self._endless(count)) from next(iter(errors), None)
        if errors:
            raise errors[0]
        return count

    def _run(self, message_id: str | None = None) -> Run | None:
        message = rows.take(self._conn, message_id)
        if message is None:
            return None
        run = self._broker.process(message)
        self._runs.append(run)
        return run

    def _failure_of(self, run: Run | None) -> BaseException | None:
        if run is None or run.outcome.kind not in FAILED:
            return None
        return run.outcome.error or DiedError(f"{run.title}: {run.outcome.reason}")

    def _endless(self, count: int) -> str:
        due = [job for job in self.enqueued if job.is_due]
        last = [(run.title, run.outcome.kind) for run in self._runs[-5:]]
        lines = [
            f"{count} jobs have run, and there are still {len(due)} due: do they send each other?",
            "`drain(at_most=…)` lets more run.",
            *text.listing("the last to run", last),
            *text.listing("due", [text.of(job) for job in due]),
        ]
        return "\n".join(lines)


class PlainSends(Sends):
    """What there is without PostgreSQL: the plain sends, and a word on what is missing."""

    def __init__(self, broker: Stub, why: str) -> None:
        """`why` there is no PostgreSQL."""
        self._broker = broker
        self._why = why

    @property
    def enqueued(self) -> list[Enqueued]:
        """What was sent, oldest first."""
        return [rows.of_plain_send(message) for message in self._broker.sent]

    def __getattr__(self, name: str) -> Any:
        """Say what is missing, of whatever only `Jobs` has."""
        if hasattr(Jobs, name):
            raise NeedsDatabaseError(name, self._why)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
