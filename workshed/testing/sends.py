"""Assertions about the jobs that were sent."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from workshed.testing import text
from workshed.testing.enqueued import EnqueuedJob
from workshed.testing.expected_job import Actor, ExpectedJob, name_arguments
from workshed.testing.fake_broker import KitRun

TOLERANCE = timedelta(seconds=1)


class SentJobs:
    """The jobs that were sent and have not run."""

    @property
    def enqueued(self) -> list[EnqueuedJob]:
        """All waiting jobs in the order in which they will run."""
        raise NotImplementedError

    @property
    def runs(self) -> Sequence[KitRun]:
        """All runs of this test, in order."""
        return ()

    def assert_enqueued(
        self,
        actor: Actor,
        /,
        *args: Any,
        in_: timedelta | None = None,
        at: datetime | None = None,
        within: timedelta = TOLERANCE,
        queue: str | None = None,
        priority: int | None = None,
        times: int | None = None,
        **kwargs: Any,
    ) -> EnqueuedJob | None:
        """Fail unless such a job waits; return the first of them.

        You can give arguments by position or by name, whichever way the job was sent, and matchers
        such as `unittest.mock.ANY`. If you give none, any arguments match. `in_` is the delay it
        was sent with, `at` the time at which it is due, and `within` how far off these may be;
        `priority` is RabbitMQ's. `times`: exactly so many must wait, instead of at least one.
        """
        wanted = _expected_job(actor, args, kwargs, queue, priority, in_, at, within)
        jobs = self.enqueued
        same, rest = wanted.split(jobs)
        if times is None and not same:
            raise AssertionError(self._failure(f"{wanted} is not enqueued", wanted, rest, jobs))
        if times is not None and len(same) != times:
            title = f"{wanted} is enqueued {times_text(len(same))}, not {times_text(times)}"
            raise AssertionError(self._failure(title, wanted, rest, jobs))
        return same[0] if same else None

    def refute_enqueued(
        self,
        actor: Actor,
        /,
        *args: Any,
        in_: timedelta | None = None,
        at: datetime | None = None,
        within: timedelta = TOLERANCE,
        queue: str | None = None,
        priority: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Fail if such a job waits; without arguments, if any job of this actor waits."""
        wanted = _expected_job(actor, args, kwargs, queue, priority, in_, at, within)
        jobs = self.enqueued
        same, _ = wanted.split(jobs)
        if same:
            title = f"{wanted} is enqueued {times_text(len(same))}, and should not be"
            raise AssertionError("\n".join([title, "", *self._lists(jobs)]))

    def _failure(
        self,
        title: str,
        expected: ExpectedJob,
        rest: Sequence[EnqueuedJob],
        jobs: Sequence[EnqueuedJob],
    ) -> str:
        rows = [("wanted", str(expected), "")]
        if rest:
            differences = ", ".join(expected.differences(rest[0]))
            rows.append(("closest", text.sent_text(rest[0]), f"but {differences}"))
        return "\n".join([title, "", *text.align_table(rows), "", *self._lists(jobs)])

    def _lists(self, jobs: Sequence[EnqueuedJob]) -> list[str]:
        lines = text.format_titled_list("enqueued", [text.job_columns(job) for job in jobs])
        if self.runs:
            lines += text.format_titled_list(
                "has run", [text.run_columns(run) for run in self.runs]
            )
        return lines


def times_text(number: int) -> str:
    """Return a count in words."""
    return "once" if number == 1 else f"{number} times"


def _expected_job(
    actor: Actor,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    queue: str | None,
    priority: int | None,
    in_: timedelta | None,
    at: datetime | None,
    within: timedelta,
) -> ExpectedJob:
    if at is not None and at.tzinfo is None:
        raise ValueError(f"`at` needs a time zone: {at.isoformat()}")
    arguments = name_arguments(actor, args, kwargs) if args or kwargs else None
    return ExpectedJob(actor, arguments, queue, priority, in_, at, within)
