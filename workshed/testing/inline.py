"""The fixture `jobs` in mode `inline`: jobs run as soon as they are sent."""

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, overload

import dramatiq

from workshed.testing.crashes.idempotence import IdempotenceReport
from workshed.testing.expected_job import Actor
from workshed.testing.fake_broker import KitRun
from workshed.testing.jobs import LONGEST_DRAIN, Jobs

P = ParamSpec("P")
R = TypeVar("R")


class InlineJobs(Jobs):
    """Runs due jobs in the sending thread, once what it has sent is committed.

    Jobs that a job sends run when that job has ended. The first error is raised at the send.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._thread = threading.local()
        self._connections.on_commit = self._run_at_once

    def perform(
        self, actor: dramatiq.Actor[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R | None:
        """Run one job now; the jobs that it sent have run when this returns."""
        with self._suspend_runs():
            result = super().perform(actor, *args, **kwargs)
        self._run_at_once()
        return result

    def drain(self, *, at_most: int = LONGEST_DRAIN) -> int:
        """Run all jobs that became due as time moved, and the jobs that they send."""
        with self._suspend_runs():
            return super().drain(at_most=at_most)

    def run_next(self) -> KitRun | None:
        """Run one job that became due as time moved; the jobs that it sends wait for `drain`."""
        with self._suspend_runs():
            return super().run_next()

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
        """Fail unless a job leaves the same however often it is delivered, as in `Jobs`."""
        with self._suspend_runs():
            return super().assert_idempotent(actor, *args, ignore=ignore, **kwargs)

    def _run_at_once(self) -> None:
        if not getattr(self._thread, "is_busy", False):
            self.drain()

    @contextmanager
    def _suspend_runs(self) -> Generator[None]:
        """Let jobs that are sent inside the block wait."""
        before = getattr(self._thread, "is_busy", False)
        self._thread.is_busy = True
        try:
            yield
        finally:
            self._thread.is_busy = before
