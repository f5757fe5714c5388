"""Leave when this process cannot work any more, so that another one is started."""

import contextlib
import faulthandler
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping

from dramatiq.worker import Worker

from workshed.transport.amqp.connection import ReconnectingConnection
from workshed.transport.errors import EXIT_WATCHDOG

logger = logging.getLogger(__name__)

LOOK_S = 1.0
SILENT_LOOKS = 30
"""Looks in a row at which an I/O loop has not turned. Counted and not timed: while the process is
stopped, or one call holds the interpreter, this thread does not look either."""
FROZEN_S = 60.0
"""For how long it may do so. RabbitMQ, which hears nothing of this process either, gives its
jobs to others in half of that time."""
STDERR = 2


class Watchdog:
    """A thread that looks after all others.

    An empty queue or a reconnect is no silence: the loop of a link turns all the same.
    """

    def __init__(
        self,
        worker: Worker,
        links: Callable[[], Iterable[ReconnectingConnection]],
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        """Start nothing; `leave` takes the exit code."""
        self._worker = worker
        self._links = links
        self._silent: dict[ReconnectingConnection, tuple[int, int]] = {}
        self._leave = leave
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Look every second from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; threads end now in good order."""
        self._over.set()

    def trouble(self) -> str | None:
        """Look once; say what has stopped working, if anything."""
        dead = [t.name for t in dramatiq_threads(self._worker) if not t.is_alive()]
        if dead:
            return f"thread {dead[0]} has died"
        for link in self._links():
            turns, looked = self._silent.get(link, (0, 0))
            looks = looked + 1 if link.is_started and link.turns == turns else 0
            self._silent[link] = (link.turns, looks)
            if looks >= SILENT_LOOKS:
                return f"the I/O loop of the {link.name} has not turned for {looks} looks"
        return None

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            reset_timer()
            trouble = self.trouble()
            if trouble is not None and not self._over.is_set():
                logger.critical("%s; leaving with code %d", trouble, EXIT_WATCHDOG)
                self._leave(EXIT_WATCHDOG)
                break
        faulthandler.cancel_dump_traceback_later()


def reset_timer() -> None:
    """Leave with code 1 in `FROZEN_S`, and say where each thread stands, if not called until then.

    Python's timer for that needs no interpreter.
    """
    with contextlib.suppress(RuntimeError):  # no memory for its thread; perhaps the next time
        faulthandler.dump_traceback_later(FROZEN_S, exit=True, file=STDERR)


def dramatiq_threads(worker: Worker) -> list[threading.Thread]:
    """Return the threads that dramatiq works with."""
    consumers: Mapping[str, threading.Thread] = worker.consumers
    return [*worker.workers, *consumers.values()]
