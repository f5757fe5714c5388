"""What brokers share that consume: the worker's part, which programs that only send do not load."""

import itertools
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from workshed.queues import Queue
from workshed.transport.executing_broker import ExecutingBroker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workshed.transport.consuming.execution import JobExecutor
    from workshed.transport.consuming.inbox import WatchedLoop
    from workshed.transport.consumption import Consumption
    from workshed.transport.worker.lifecycle import WorkerLifecycle

Worked = TypeVar("Worked", bound="Consumption")


class ConsumingBroker(ExecutingBroker, Generic[Worked]):
    """A broker whose workers run in processes of their own."""

    def __init__(self, queues: dict[str, Queue], middleware: list[Middleware]) -> None:
        """Load nothing of the worker's part yet."""
        self._made_consumption: Any = None
        self._consumption_lock = threading.Lock()
        super().__init__(queues, middleware)
        self._own_before["worker_shutdown"] = self._begin_shutdown
        self._own_after |= {"worker_boot": self._watch, "worker_shutdown": self._finish_shutdown}

    def _make_consumption(self) -> Worked:
        """Load the worker's part."""
        raise NotImplementedError

    @property
    def _consumption(self) -> Worked:
        """The part of a worker. Programs that only send do not import it."""
        if self._made_consumption is None:
            with self._consumption_lock:
                if self._made_consumption is None:
                    self._made_consumption = self._make_consumption()
        made: Worked = self._made_consumption
        return made

    @property
    def _execution(self) -> "JobExecutor":
        return self._consumption.execution

    @property
    def _lifecycle(self) -> "WorkerLifecycle":
        return self._consumption.lifecycle

    def embed(self) -> "WorkerLifecycle":
        """Let workers run in a web process from now on; return what knows how they are."""
        self.is_embedded = True
        self._execution.runs_suspects = False
        numbers = itertools.count(1)

        def name_thread(thread: threading.Thread) -> None:
            """Name a thread before its first job, which may log or check where it runs."""
            thread.name = f"workshed job {next(numbers)}"

        self._own_after["worker_thread_boot"] = name_thread
        return self._lifecycle

    def disconnect_worker(self) -> None:
        """Settle the last jobs of a worker that has stopped; this process may still send."""
        self._consumption.inbox.close()

    def _sending_loops(self) -> "Iterable[WatchedLoop]":
        """Return the loops by which this broker sends."""
        return ()

    def flush(self, queue_name: str) -> None:
        """Drop all messages of a queue."""
        raise NotImplementedError

    def flush_all(self) -> None:
        """Drop all messages of all queues of this program's actors; for tests."""
        for name in list(self.queues):
            self.flush(name)

    def _boot(self, worker: Worker) -> None:
        super()._boot(worker)
        self._consumption.boot(worker)

    def _watch(self, worker: Worker) -> None:
        self._consumption.watch(worker, self._sending_loops)

    def _begin_shutdown(self, worker: Worker) -> None:
        self._lifecycle.begin_shutdown()
        self._emit(self._hooks_for("before_worker_shutdown"), worker)

    def _finish_shutdown(self, _worker: Worker) -> None:
        self._lifecycle.finish()
