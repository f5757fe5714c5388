"""The fixture `jobs` where what is sent runs at once."""

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, overload

import dramatiq

from workshed.testing.crashes.idempotence import IdempotenceReport
from workshed.testing.fake_broker import KitRun
from workshed.testing.jobs import LONGEST_DRAIN, Jobs
from workshed.testing.wanted import Actor

P = ParamSpec("P")
R = TypeVar("R")


class Inline(Jobs):
    """Runs what is due in the thread that sends it, once what it has sent is committed.

    What a job sends runs when that job has ended. The first error is raised where it was sent.
    """

    def __init__(self, *args: Any) -> None:
        """Take what the jobs of any test take."""
        super().__init__(*args)
        self._thread = threading.local()
        self._connections.committed = self._run_at_once

    def perform(
        self, actor: dramatiq.Actor[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R | None:
        """Run one job now; what it has sent has run when this returns."""
        with self._leaving_the_rest():
            result = super().perform(actor, *args, **kwargs)
        self._run_at_once()
        return result

    def drain(self, *, at_most: int = LONGEST_DRAIN) -> int:
        """Run all that is due since time has moved, and what these jobs send."""
        with self._leaving_the_rest():
            return super().drain(at_most=at_most)

    def run_next(self) -> KitRun | None:
        """Run one job that is due since time has moved; what it sends waits for `drain`."""
        with self._leaving_the_rest():
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
        with self._leaving_the_rest():
            return super().assert_idempotent(actor, *args, ignore=ignore, **kwargs)

    def _run_at_once(self) -> None:
        if not getattr(self._thread, "is_busy", False):
            self.drain()

    @contextmanager
    def _leaving_the_rest(self) -> Generator[None]:
        """Let what is sent inside the block wait."""
        before = getattr(self._thread, "is_busy", False)
        self._thread.is_busy = True
        try:
            yield
        finally:
            self._thread.is_busy = before
