"""Graceful shutdown: start no more jobs, requeue waiting ones, let running ones finish."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from workshed import db
from workshed.transport.consuming.consumer import ConsumerConnection
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.errors import EXIT_HARD_DEADLINE

logger = logging.getLogger(__name__)

CANCEL_S = 1.0
"""Longest wait for the consumers to be cancelled, and for the last acks to be written."""
INTERRUPT_S = 2.0
"""Longest wait for interrupted jobs to store their outcome."""


class GracefulShutdown:
    """The shutdown of a worker process, from SIGTERM or `Worker.stop`, whichever comes first.

    dramatiq checks for a signal once a second, and keeps prefetching until its last job ends.
    """

    def __init__(
        self,
        inbox: ConsumerConnection,
        execution: JobExecutor,
        interrupt: Callable[[], None],
        grace_s: float,
    ) -> None:
        """Change nothing yet; `interrupt` raises an exception in every running actor."""
        self._inbox = inbox
        self._execution = execution
        self._interrupt = interrupt
        self._grace_s = grace_s
        self._begun = threading.Lock()
        self._given_back = threading.Event()
        self._signalled = False
        self._recycling = False
        self._before: dict[int, Any] = {}

    def chain_signals(self) -> None:
        """Begin at once on SIGTERM and SIGHUP, and then call the previous handlers.

        Does nothing outside the main thread, because only that may set signal handlers.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._before[number] = signal.getsignal(number)
                signal.signal(number, self._on_signal)

    def unchain_signals(self) -> None:
        """Restore the previous signal handlers."""
        while self._before:
            signal.signal(*self._before.popitem())

    def recycle(self, delivery: Delivery, actor: Any, error: BaseException) -> None:
        """Exit because a job does not end; other jobs get the grace period, and are then cut off.

        Does nothing during a shutdown, which cuts the job off without counting an attempt.
        """
        if self._begun.acquire(blocking=False):
            self._recycling = True
            with self._execution.log.about(delivery.job):
                logger.critical("%s %s; leaving with code %d", delivery, error, EXIT_HARD_DEADLINE)
            threading.Thread(target=self._run, name="leaving", daemon=True).start()
        if self._recycling:
            delivery.parked = True  # its thread may come back, and would ack it a second time
            giving_up = threading.Thread(
                target=self._execution.give_up, args=(delivery, actor, error), daemon=True
            )
            giving_up.start()

    def begin(self) -> None:
        """Start no more jobs, and return once the waiting ones are requeued."""
        self._start()
        self._given_back.wait(2 * CANCEL_S)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Must not wait for anything, because the main thread may hold any lock now.
        self._signalled = True
        self._start()
        before = self._before.get(number)
        if callable(before):
            before(number, frame)

    def _start(self) -> None:
        if self._begun.acquire(blocking=False):
            threading.Thread(target=self._run, name="leaving", daemon=True).start()

    def _run(self) -> None:
        self._execution.work.close()
        # In this order, because a delivery requeued while we still consume would come back here.
        self._inbox.stop_consuming(CANCEL_S)
        waiting = self._execution.give_back(lambda _: True)
        self._given_back.set()
        logger.info("this worker stops; requeued %d waiting jobs", waiting)
        if not self._execution.running.wait_empty(self._grace_s):
            self._cut_off()
        if self._recycling:
            self._exit(EXIT_HARD_DEADLINE)

    def _cut_off(self) -> None:
        """Interrupt running jobs; exit without those that cannot be interrupted."""
        logger.warning("jobs still run after %g s; they are interrupted", self._grace_s)
        self._interrupt()
        if self._execution.running.wait_empty(INTERRUPT_S):
            return
        if not (self._signalled or self._recycling):
            return
        with db.limited_wait():
            db.give_back()  # first, so that a job's next run can take what this one has claimed
        count = self._execution.interrupt()
        logger.warning("%d jobs could not be interrupted; they run again elsewhere", count)
        self._exit(EXIT_HARD_DEADLINE if self._recycling else 0)

    def _exit(self, code: int) -> None:
        """Exit without waiting for hung threads, which would run alongside the next attempt."""
        self._inbox.flush(CANCEL_S)
        self._execution.leaving()
        with contextlib.suppress(OSError):
            logging.shutdown()
        os._exit(code)
