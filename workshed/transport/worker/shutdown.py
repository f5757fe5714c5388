"""Leave in good order: start nothing more, give back what waits, let end what runs."""

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
"""Longest wait for RabbitMQ's connection to take the cancels."""
INTERRUPT_S = 2.0
"""Longest wait for interrupted jobs to store their outcome."""


class GracefulShutdown:
    """The end of a worker process, from SIGTERM or `Worker.stop`, whichever is first.

    dramatiq looks for a signal once a second, and goes on prefetching until its last job ends.
    """

    def __init__(
        self,
        inbox: ConsumerConnection,
        execution: JobExecutor,
        interrupt: Callable[[], None],
        grace_s: float,
    ) -> None:
        """Change nothing; `interrupt` raises in every actor that runs."""
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
        """Begin at once on SIGTERM and SIGHUP, and then do what was done on them before.

        Only the main thread may do that; in any other there is nobody to tell of a signal.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._before[number] = signal.getsignal(number)
                signal.signal(number, self._on_signal)

    def unchain_signals(self) -> None:
        """Let signals do what they did before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def recycle(self, delivery: Delivery, actor: Any, error: BaseException) -> None:
        """Leave because a job does not end; what else runs has its time, and then ends too.

        During a shutdown nothing is done: that cuts the job off, and does not charge it.
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
        """Return once nothing more is started and what waited is given back."""
        self._start()
        self._given_back.wait(2 * CANCEL_S)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Waiting for nothing: the main thread may hold any lock just now.
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
        # In this order: what is given back to a queue that is still consumed comes back here.
        self._inbox.stop_consuming(CANCEL_S)
        waiting = self._execution.give_back(lambda _: True)
        self._given_back.set()
        logger.info("this worker stops; %d waiting jobs given back", waiting)
        if not self._execution.running.wait_empty(self._grace_s):
            self._cut_off()
        if self._recycling:
            self._exit(EXIT_HARD_DEADLINE)

    def _cut_off(self) -> None:
        """Interrupt what runs; leave without what cannot be interrupted."""
        logger.warning("jobs still run after %g s; they are interrupted", self._grace_s)
        self._interrupt()
        if self._execution.running.wait_empty(INTERRUPT_S):
            return
        if not (self._signalled or self._recycling):
            return
        with db.limited_wait():
            db.give_back()  # first: the next run of a job finds what this one has claimed
        count = self._execution.interrupt()
        logger.warning("%d jobs could not be interrupted; they run again elsewhere", count)
        self._exit(EXIT_HARD_DEADLINE if self._recycling else 0)

    def _exit(self, code: int) -> None:
        """End without the threads that do not: they would run beside the next attempt."""
        self._inbox.flush(CANCEL_S)
        self._execution.leaving()
        with contextlib.suppress(OSError):
            logging.shutdown()
        os._exit(code)
