"""End a worker process when the master that started it is gone."""

import os
import signal

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from workshed.parent import is_orphan, master_process
from workshed.threads.background import BackgroundThread

LOOK_S = 1.0
STUCK_S = 10.0


class ParentWatch(Middleware):
    """End a worker process of plain `dramatiq` whose master was killed.

    dramatiq's worker process does not notice that, and would go on consuming next to the process
    that replaces it.
    *Order:* last, because `after_*` hooks run in reverse order.
    """

    def __init__(self) -> None:
        self._has_sent_signal = False
        self._thread = BackgroundThread("parent watch", self._check_parent, LOOK_S)

    def after_process_boot(self, broker: Broker) -> None:
        """Watch the master from now on; it may have died already."""
        if master_process() and not getattr(broker, "is_embedded", False):
            self._thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop watching: the worker is ending, and a second SIGTERM would interrupt its jobs."""
        self._thread.stop()

    def _check_parent(self) -> float | None:
        # At the end of its boot it waits for the master's answer, for ever if that was killed.
        if self._has_sent_signal:
            os._exit(1)
        if not is_orphan():
            return None
        self._has_sent_signal = True
        os.kill(os.getpid(), signal.SIGTERM)
        return STUCK_S
