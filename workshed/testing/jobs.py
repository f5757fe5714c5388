"""The fixture `jobs`: the interface of the kit for tests."""

import functools
from collections import defaultdict, deque
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, overload

import dramatiq

from workshed.db import Connection
from workshed.jobs.batches.progress import BatchProgress
from workshed.testing import enqueued, expectations, text
from workshed.testing.crashes.idempotence import IdempotenceCheck, IdempotenceReport
from workshed.testing.database.clock import KitClock
from workshed.testing.database.connections import Connections
from workshed.testing.errors import DiedError, EndlessError, KitError
from workshed.testing.expected_job import Actor, name_arguments
from workshed.testing.fake_broker import Error, FakeBroker, KitRun
from workshed.testing.stored import StoredJobs
from workshed.transport.batch import Batch
from workshed.transport.publishing.outgoing import Message

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_DRAIN = 1_000


class Jobs(StoredJobs):
    """The jobs of one test: they wait in PostgreSQL until the test runs them in its own thread."""

    def __init__(
        self,
        broker: FakeBroker,
        conn: Connection,
        clock: KitClock,
        connections: Connections,
        folder: Path,
    ) -> None:
        """Take the kit's own `conn`, and the `connections` of the jobs."""
        super().__init__(conn, folder)
        self._broker = broker
        self._clock = clock
        self._connections = connections
        self._runs: list[KitRun] = []
        self._errors: dict[str, deque[Error]] = defaultdict(deque)
        self._may_retry = False

    @property
    def runs(self) -> Sequence[KitRun]:
        """All runs of this test, in order."""
        return self._runs

    def perform(
        self, actor: dramatiq.Actor[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R | None:
        """Run one job now, with arguments as JSON returns them and with all middleware.

        Returns what the actor returns, or raises what it raised. Its outcome is stored as by a
        worker, so a retry then waits. A missing record is final, as for a job that was sent in the
        transaction that wrote the record. A discard or snooze raises nothing.

        Raises `KitError` if another job holds its unique key.
        """
        returned: R | None = self._perform(self._send(actor, args, kwargs))
        return returned

    def perform_periodic(
        self, actor: dramatiq.Actor[[], R], *, scheduled_for: datetime
    ) -> R | None:
        """Run a periodic job now, as its run for a planned time, which `scheduled_for()` returns.

        Otherwise like `perform`. Raises `KitError` for an actor without `periodic=`, or a time
        without a time zone.
        """
        if "periodic" not in actor.options:
            raise KitError(f"{actor.actor_name} is not periodic: use jobs.perform")
        if scheduled_for.tzinfo is None:
            raise KitError(f"`scheduled_for` needs a time zone: {scheduled_for.isoformat()}")
        planned = {"scheduled_for": int(scheduled_for.timestamp() * 1000)}
        returned: R | None = self._perform(self._send(actor, (), {}, **planned))
        return returned

    def drain(self, *, at_most: int = LONGEST_DRAIN) -> int:
        """Run all due jobs, and those that they send, until none is due; return how many ran.

        As in a worker, a failing job does not keep the others from running; the first error is
        raised at the end. Raises `EndlessError` after `at_most` runs.
        """
        errors: list[BaseException] = []
        count = 0
        while run := self._run():
            count += 1
            if error := self._find_error(run):
                errors.append(error)
            if count >= at_most and any(job.is_due for job in self.enqueued):
                raise EndlessError(self._describe_endless(count)) from next(iter(errors), None)
        if errors:
            raise errors[0]
        return count

    def run_next(self) -> KitRun | None:
        """Run only the job that is due first; `None` if none is due.

        Raises its error, as `drain` does.
        """
        run = self._run()
        if error := self._find_error(run):
            raise error
        return run

    def progress(self, batch: Batch) -> BatchProgress:
        """Return how many jobs of a batch have ended, and how; only committed data count."""
        return batch.progress(self._conn)

    # No parameter may stand between those of a ParamSpec, so with `ignore` the others are checked
    # only at run time.
    @overload
    def assert_idempotent(
        self, actor: dramatiq.Actor[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> IdempotenceReport: ...

    @overload
    def assert_idempotent(
        self, actor: Actor, /, *args: Any, ignore: Sequence[str], **kwargs: Any
    ) -> IdempotenceReport: ...

    def assert_idempotent(
        self, actor: Actor, /, *args: Any, ignore: Any = (), **kwargs: Any
    ) -> IdempotenceReport:
        """Fail unless a job leaves the same data after any number of deliveries and any crash.

        The job runs to its end, with the jobs that it sends; other waiting jobs do not run. Then
        the starting state is restored, and the job is delivered twice. After that it is delivered
        once more for each failpoint: it crashes before or after one of its own statements or
        commits, and is delivered again. Each time, all tables except those of schema `workshed`
        must have the same rows, the same jobs must wait, and the same mails must be sent. A mail
        that is sent again with its Message-ID is counted, and is no failure.

        `ignore`: columns and tables that may differ: `"token"`, `"users.token"`, `"visits"`. For
        times only whether they are set counts, and for numbers that PostgreSQL generates only their
        order. The clock stands still from now on, as after `freeze`.

        Raises `KitError` if another job holds its unique key, or if the job has already run.
        """
        if self._broker.find_test_transaction() is not None:
            raise KitError(
                "assert_idempotent ends connections, and with them the transaction of this test: "
                "use @pytest.mark.django_db(transaction=True) or a TransactionTestCase"
            )
        message = enqueued.dequeue_job(self._conn, self._send(actor, args, kwargs).message_id)
        if message is None:
            raise KitError(f"{actor.actor_name} was sent, and has already run")
        before = len(self._runs)
        # Jobs that a fixture has sent are not effects of this job, so they keep waiting.
        others = frozenset(job.message_id for job in self.enqueued)
        run_next = functools.partial(self._run, excluding=others)
        trial = IdempotenceCheck(
            self._broker, self._conn, self._clock, self._connections, self._folder, run_next
        )
        try:
            return trial.run(message, ignore)
        finally:
            del self._runs[before:]

    def advance(self, **units: float) -> None:
        """Move PostgreSQL's and Python's clocks forward, by `days=3` or other units of a timedelta.

        Jobs that become due wait for `drain`.
        """
        self._clock.advance(timedelta(**units))

    def freeze(self) -> datetime:
        """Stop PostgreSQL's and Python's clocks at a whole second; return that time.

        `advance` moves them forward.
        """
        return self._clock.stop()

    def fail_next(self, actor: Actor, error: Error) -> None:
        """Make the next run of an actor raise an error instead of its body; each call adds one run.

        Middleware around the actor sees the error as if the body had raised it.
        """
        self._errors[actor.actor_name].append(error)

    @contextmanager
    def expect_retry(
        self, *, after: timedelta | None = None, within: timedelta | None = None
    ) -> Generator[None]:
        """Fail unless a job that runs in the block is to be retried; its error is not raised.

        `after`: the approximate delay. `within`: how far off it may be; by default a quarter of
        `after`, because delays have jitter, and at least a second.
        """
        start, before, self._may_retry = len(self._runs), self._may_retry, True
        try:
            yield
        finally:
            self._may_retry = before
        expectations.expect_retried(self._runs[start:], after, within)

    @contextmanager
    def expect_discard(self, reason: str = "") -> Generator[None]:
        """Fail unless a job that runs in the block is discarded, with `reason` in its reason."""
        start = len(self._runs)
        yield
        expectations.expect_discarded(self._runs[start:], reason)

    def _perform(self, message: Message) -> Any:
        run = self._run(message.message_id)
        if error := self._find_error(run):
            raise error
        return None if run is None else run.result

    def _send(
        self, actor: Actor, args: tuple[Any, ...], kwargs: dict[str, Any], **options: object
    ) -> Message:
        name_arguments(actor, args, kwargs)
        message = actor.message_with_options(
            args=args, kwargs=kwargs, origin="transaction", **options
        )
        sent = self._broker.enqueue(message)
        if sent.message_id != message.message_id:
            raise KitError(f"{message} was not sent: {sent.message_id} has its unique key")
        return sent

    def _run(
        self, message_id: str | None = None, *, excluding: Collection[str] = ()
    ) -> KitRun | None:
        message = enqueued.dequeue_job(self._conn, message_id, excluding=excluding)
        if message is None:
            return None
        errors = self._errors[message.actor_name]
        run = self._broker.process(message, errors.popleft() if errors else None)
        self._runs.append(run)
        return run

    def _find_error(self, run: KitRun | None) -> BaseException | None:
        if run is None or not (run.outcome.is_dead or run.outcome.kind == "retry"):
            return None
        if self._may_retry and not run.outcome.is_dead:
            return None
        return run.outcome.error or DiedError(f"{run.title}: {run.outcome.reason}")

    def _describe_endless(self, count: int) -> str:
        due = [job for job in self.enqueued if job.is_due]
        last = [text.run_columns(run) for run in self._runs[-5:]]
        lines = [
            f"{count} jobs have run, and there are still {len(due)} due: do they send each other?",
            "`drain(at_most=…)` lets more run.",
            *text.format_titled_list("the last to run", last),
            *text.format_titled_list("due", [text.job_columns(job) for job in due]),
        ]
        return "\n".join(lines)
