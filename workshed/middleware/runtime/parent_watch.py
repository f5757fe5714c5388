"""End a worker process when the master that started it is gone."""

import os
import signal
import threading

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from workshed.parent import is_orphan, master_process

LOOK_S = 1.0
STUCK_S = 10.0


class ParentWatch(Middleware):
    """End a worker process of plain `dramatiq` whose master was killed.

    dramatiq's worker process does not notice that, and would consume for ever alongside its
    replacement.
    *Order:* last, because `after_*` hooks run in reverse order.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def after_process_boot(self, broker: Broker) -> None:
        """Watch the master from now on; it may have died already."""
        if master_process():
            threading.Thread(target=self._watch, daemon=True).start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop watching: the worker is ending, and a second SIGTERM would interrupt its jobs."""
        self._stopping.set()

    def _watch(self) -> None:
        while not is_orphan():
            if self._stopping.wait(LOOK_S):
                return
        os.kill(os.getpid(), signal.SIGTERM)
        # At the end of its boot it waits for the master's answer, for ever if that was killed.
        if not self._stopping.wait(STUCK_S):
            os._exit(1)
