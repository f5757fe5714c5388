"""Tie a worker process to the master that started it."""

import multiprocessing
import os
import signal
import threading

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from workshed.parent import is_orphan

LOOK_S = 1.0
STUCK_S = 10.0


class ParentWatch(Middleware):
    """End a worker process whose master was killed.

    dramatiq's worker process does not notice: it would consume for ever, beside the one that
    replaces it.
    *Order:* last, since `after_*` run upwards.
    """

    def __init__(self) -> None:
        """Watch nothing yet: the thread starts after the fork."""
        self._stopping = threading.Event()

    def after_process_boot(self, broker: Broker) -> None:
        """Look for the master from now on; it may have died already."""
        if multiprocessing.parent_process():
            threading.Thread(target=self._watch, daemon=True).start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Look no more: it ends, and a second SIGTERM would cut its jobs."""
        self._stopping.set()

    def _watch(self) -> None:
        while not is_orphan():
            if self._stopping.wait(LOOK_S):
                return
        os.kill(os.getpid(), signal.SIGTERM)
        # At the end of its boot it waits for the master to answer, for ever when that was killed.
        if not self._stopping.wait(STUCK_S):
            os._exit(1)
