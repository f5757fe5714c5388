"""Graceful shutdown: start no more jobs, requeue waiting ones, let running ones finish."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any

from workshed import db
from workshed.errors import EXIT_HARD_DEADLINE
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.consuming.inbox import Inbox

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
        inbox: Inbox,
        execution: JobExecutor,
        interrupt: Callable[[], None],
        grace_s: float,
    ) -> None:
        """Change nothing yet; `interrupt` raises an exception in every running actor."""
        self._inbox = inbox
        self._execution = execution
        self._interrupt = interrupt
        self._grace_s = grace_s
        self._begin_lock = threading.Lock()
        self._requeued = threading.Event()
        self._has_signal = False
        self._is_recycling = False
        self._previous_handlers: dict[int, Any] = {}
        self._pid = os.getpid()

    def install_signal_handlers(self) -> None:
        """Begin at once on SIGTERM and SIGHUP, and then call the previous handlers.

        Does nothing outside the main thread, because only that may set signal handlers.
        """
        if threading.current_thread() is threading.main_thread():
            _reset_signals_in_children()
            self._pid = os.getpid()
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._previous_handlers[number] = signal.getsignal(number)
                signal.signal(number, self._on_signal)

    def restore_signal_handlers(self) -> None:
        """Restore the previous signal handlers."""
        while self._previous_handlers:
            signal.signal(*self._previous_handlers.popitem())

    def recycle_process(self, delivery: Delivery, actor: Any, error: BaseException) -> None:
        """Exit because a job does not end; other jobs get the grace period, and are then cut off.

        Does nothing during a shutdown, which cuts the job off without counting an attempt.
        """
        if self._begin_lock.acquire(blocking=False):
            self._is_recycling = True
            with self._execution.log.bind_temporarily(delivery.job):
                logger.critical("%s %s; exiting with code %d", delivery, error, EXIT_HARD_DEADLINE)
            threading.Thread(target=self._run, name="leaving", daemon=True).start()
        if self._is_recycling:
            delivery.settles_later = (
                True  # its thread may come back, and would ack it a second time
            )
            giving_up = threading.Thread(
                target=self._execution.abandon, args=(delivery, actor, error), daemon=True
            )
            giving_up.start()

    def begin(self) -> None:
        """Start no more jobs, and return once the waiting ones are requeued."""
        try:
            self._start()
        except RuntimeError:  # the interpreter of a web process ends, and starts no thread any more
            self._run()
        self._requeued.wait(2 * CANCEL_S)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Must not wait for anything, because the main thread may hold any lock now.
        if os.getpid() != self._pid:  # a job has forked it, and its handlers are not reset yet
            _reset_signals()
            os.kill(os.getpid(), number)
            return
        self._has_signal = True
        self._start()
        before = self._previous_handlers.get(number)
        if callable(before):
            before(number, frame)

    def _start(self) -> None:
        if self._begin_lock.acquire(blocking=False):
            threading.Thread(target=self._run, name="leaving", daemon=True).start()

    def _run(self) -> None:
        self._execution.work.close()
        # In this order, because a delivery requeued while we still consume would come back here.
        self._inbox.stop_consuming(CANCEL_S)
        waiting = self._execution.requeue_waiting(lambda _: True)
        self._requeued.set()
        logger.info("this worker stops; requeued %d waiting jobs", waiting)
        if not self._execution.running_jobs.wait_until_empty(self._grace_s):
            self._interrupt_running()
        if self._is_recycling:
            self._exit(EXIT_HARD_DEADLINE)

    def _interrupt_running(self) -> None:
        """Interrupt running jobs; exit without those that cannot be interrupted."""
        logger.warning("jobs are still running after %g s; they are interrupted", self._grace_s)
        self._interrupt()
        if self._execution.running_jobs.wait_until_empty(INTERRUPT_S):
            return
        if not (self._has_signal or self._is_recycling):
            return
        with db.limited_wait():
            db.release_claims()  # first, so that the job's next run can claim the same
        count = self._execution.interrupt()
        logger.warning("%d jobs could not be interrupted; they run again elsewhere", count)
        self._exit(EXIT_HARD_DEADLINE if self._is_recycling else 0)

    def _exit(self, code: int) -> None:
        """Exit without waiting for hung threads, which would run alongside the next attempt."""
        self._inbox.flush(CANCEL_S)
        self._execution.on_process_exit()
        with contextlib.suppress(OSError):
            logging.shutdown()
        os._exit(code)


@cache
def _reset_signals_in_children() -> None:
    """Let a process that a job forks end on SIGTERM, and not shut down its parent's jobs."""
    os.register_at_fork(after_in_child=_reset_signals)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
