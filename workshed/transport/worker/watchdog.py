"""Exit when this process cannot work any more, so that a supervisor starts another one."""

import contextlib
import faulthandler
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping

from dramatiq.worker import Worker

from workshed.errors import EXIT_WATCHDOG
from workshed.threads.background import BackgroundThread
from workshed.transport.consuming.inbox import WatchedLoop

logger = logging.getLogger(__name__)

POLL_S = 1.0
SILENT_CHECKS = 30
"""Checks in a row without progress of an I/O loop. They are counted, not timed, because this thread
does not check either while the process is stopped or one call holds the interpreter."""
INTERPRETER_STUCK_S = 60.0
"""How long the process may be frozen. RabbitMQ, which gets no heartbeats either, gives its jobs to
other processes in half of that time."""
STDERR = 2


class Watchdog:
    """A thread that watches all others.

    An empty queue or a reconnect does not count as silence, because the I/O loop keeps running.
    """

    def __init__(
        self,
        worker: Worker,
        links: Callable[[], Iterable[WatchedLoop]],
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        """Prepare the thread; `leave` takes the exit code."""
        self._worker = worker
        self._links = links
        self._silent_checks: dict[WatchedLoop, tuple[int, int]] = {}
        self._exit = leave
        self._has_timer = False
        self._thread = BackgroundThread(
            "watchdog", self._check, POLL_S, delay_s=POLL_S, is_work_left=lambda: self._has_timer
        )

    def start(self) -> None:
        """Check every second from now on."""
        self._has_timer = True  # set before this, to cover the first job
        self._thread.start()

    def stop(self) -> None:
        """Stop checking, because threads now end as planned."""
        self._thread.stop()

    def find_problem(self) -> str | None:
        """Check once; return what has stopped working, or `None`."""
        dead = [t.name for t in dramatiq_threads(self._worker) if not t.is_alive()]
        if dead:
            return f"thread {dead[0]} has died"
        for link in self._links():
            turns, looked = self._silent_checks.get(link, (0, 0))
            looks = looked + 1 if link.is_started and link.loop_ticks == turns else 0
            self._silent_checks[link] = (link.loop_ticks, looks)
            if looks >= SILENT_CHECKS:
                return f"the I/O loop of the {link.name} has not run for {looks} checks"
        return None

    def _check(self) -> None:
        if self._thread.is_stopping:
            faulthandler.cancel_dump_traceback_later()
            self._has_timer = False
            return
        trouble = self.find_problem()
        if trouble is not None and not self._thread.is_stopping:
            logger.critical("%s; exiting with code %d", trouble, EXIT_WATCHDOG)
            self._exit(EXIT_WATCHDOG)
            self._thread.stop()
        reset_timer()  # only now: if every check fails, the timer ends this process


class EmbeddedWatchdog(Watchdog):
    """Reports what has stopped working, in a web process, which it does not end."""

    fatal_problem: str | None = None

    def start(self) -> None:
        """Check every second from now on."""
        self._thread.start()

    def _check(self) -> None:
        trouble = None if self._thread.is_stopping else self.find_problem()
        if trouble is not None and self.fatal_problem is None:
            logger.critical("%s; restart this process", trouble)
        self.fatal_problem = trouble or self.fatal_problem


def reset_timer() -> None:
    """Exit with code 1 and dump all stacks, unless called again within `INTERPRETER_STUCK_S`.

    Python's timer for that works even if the interpreter is blocked.
    """
    with contextlib.suppress(RuntimeError):  # no memory for its thread; the next call may work
        faulthandler.dump_traceback_later(INTERPRETER_STUCK_S, exit=True, file=STDERR)


def dramatiq_threads(worker: Worker) -> list[threading.Thread]:
    """Return the worker and consumer threads of dramatiq."""
    consumers: Mapping[str, threading.Thread] = worker.consumers
    return [*worker.workers, *consumers.values()]
