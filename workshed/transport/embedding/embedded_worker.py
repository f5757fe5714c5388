"""A worker and a relay in the threads of a web process, and what must not run there."""

import atexit
import logging
import os
import threading
from collections.abc import Collection
from typing import Any

from dramatiq.worker import Worker

from workshed import db
from workshed.app import get_app, load_module
from workshed.errors import WorkshedError
from workshed.health.http import PageServer, serve_in_thread
from workshed.health.probes import probe_pages
from workshed.health.status import ProcessStatus
from workshed.middleware.retrying.retries import retry_queues
from workshed.settings import settings
from workshed.threads.background import BackgroundThread
from workshed.transport.base import WorkshedBroker
from workshed.transport.build import get_broker
from workshed.transport.consuming_broker import ConsumingBroker
from workshed.transport.errors import UndeclaredQueueError
from workshed.transport.relay.relay import run_relay
from workshed.transport.worker.lifecycle import WorkerLifecycle

logger = logging.getLogger(__name__)

RETRY_S = (1.0, 30.0)
STOP_MARGIN_S = 5.0
"""Time after the grace period in which interrupted jobs store their outcomes."""


class EmbeddedWorker:
    """The worker and the relay of a web process: they start at most once at a time.

    It is created in the process that imports the application, which may fork the web processes, so
    it starts nothing before `start`.
    """

    def __init__(self, threads: int, queues: frozenset[str] | None) -> None:
        """Take the number of threads, and the queues; `None`: those of all actors."""
        self._threads = threads
        self._queues = queues
        self._pid: int | None = None
        """The process in which it was started last."""
        self._stop_event = threading.Event()
        self._relay_stop_event = threading.Event()
        self._boot_problem: str | None = None
        self._lifecycle: WorkerLifecycle | None = None
        self._pages: PageServer | None = None
        self._worker_thread = BackgroundThread(
            "workshed", self._work, 0.0, retry_s=RETRY_S, report=self._report_failure
        )
        self._relay_thread = BackgroundThread("workshed relay", self._relay, 0.0, retry_s=RETRY_S)

    def ensure_started(self) -> None:
        """Start unless it was started in this process; raises as `start` does."""
        if self._pid != os.getpid():
            self.start()

    def start(self) -> None:
        """Start both in threads of this process, where they wait for servers that are away.

        Raises `WorkshedError` if this process already has such a worker, or if an actor or a queue
        must not or cannot run here.
        """
        with _process.lock:
            if _process.pid not in (None, os.getpid()):
                logger.critical(
                    "no jobs run in process %d: it was forked from process %d, which runs jobs",
                    *(os.getpid(), _process.pid),
                )
                self._pid = os.getpid()
                return
            if _process.worker is self:
                return
            if _process.worker is not None:
                raise WorkshedError(
                    "this process already runs the jobs of another `workshed.embed`: wrap one of "
                    "its applications only"
                )
            broker = get_broker()
            if isinstance(broker, ConsumingBroker) and not broker.is_replaced:
                self._start(broker)
            self._pid = os.getpid()

    def stop(self) -> None:
        """Give running jobs the grace period, and requeue those that have not started."""
        with _process.lock:
            if _process.worker is not self or _process.pid != os.getpid():
                return
            self._stop_event.set()
            self._worker_thread.stop(None)
            self._relay_stop_event.set()
            self._relay_thread.stop(STOP_MARGIN_S)
            if self._pages is not None:
                self._pages.shutdown()
                self._pages.server_close()
            atexit.unregister(self.stop)
            _process.worker = _process.pid = None
        logger.info("no more jobs run in web process %d", os.getpid())

    def list_statuses(self) -> list[ProcessStatus]:
        """Return the status of its worker."""
        if self._boot_problem is not None or self._lifecycle is None:
            problem = self._boot_problem or "it is not up"
            return [ProcessStatus("worker", problems=[f"cannot start: {problem}"])]
        return [self._lifecycle.status()]

    def _start(self, broker: ConsumingBroker[Any]) -> None:
        for name in get_app().actors:
            load_module(name)
        check_actors(broker, self._queues)
        self._lifecycle = broker.embed()
        self._stop_event.clear()
        self._relay_stop_event.clear()
        db.get_pool()  # what it registers for the exit of the process must run after ours
        atexit.register(self.stop)
        _process.worker, _process.pid = self, os.getpid()
        pages = probe_pages(self.list_statuses, of="worker")
        self._pages = serve_in_thread(settings(), pages) if pages else None
        broker.emit_after("process_boot")
        self._worker_thread.start()
        if settings().relay_fork:
            self._relay_thread.start()

    def _work(self) -> None:
        """Run jobs until `stop`."""
        broker = get_broker()
        worker = Worker(broker, queues=set(self._queues or ()), worker_threads=self._threads)
        worker.start()
        self._boot_problem = None
        logger.info("%d threads run jobs in web process %d", self._threads, os.getpid())
        self._stop_event.wait()
        grace_s = settings().shutdown_grace.total_seconds()
        worker.stop(timeout=round((grace_s + STOP_MARGIN_S) * 1000))
        if isinstance(broker, ConsumingBroker):
            broker.disconnect_worker()

    def _relay(self) -> None:
        run_relay(self._relay_stop_event)

    def _report_failure(self, error: Exception, pause_s: float) -> None:
        """Log why the worker does not start; the web process keeps serving."""
        self._boot_problem = str(error).strip()
        trace = None if isinstance(error, (WorkshedError, *db.TRANSIENT_ERRORS)) else error
        logger.critical(
            "no jobs run in web process %d: %s; trying again in %.2g s",
            *(os.getpid(), self._boot_problem, pause_s),
            exc_info=trace,
        )


class _Process:
    """Which worker runs in this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.worker: EmbeddedWorker | None = None
        self.pid: int | None = None


_process = _Process()


def _renew_lock() -> None:
    _process.lock = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_renew_lock)


def check_actors(broker: WorkshedBroker, queues: Collection[str] | None) -> None:
    """Raise `WorkshedError` for a queue that is not declared, and for a hard time limit."""
    consumed = set(broker.queues if queues is None else queues)
    declared = broker.declared_queues
    for name in sorted(consumed - declared.keys()):
        raise UndeclaredQueueError(name, declared)
    for actor in broker.actors.values():
        at = sorted({actor.queue_name, *retry_queues(actor)} & consumed)
        if at and "hard_time_limit" in actor.options:
            others = sorted(consumed - set(at)) or ["…"]
            words = " ".join(f"-Q {queue}" for queue in at)
            raise WorkshedError(
                f"{actor.actor_name}: a hard_time_limit= ends the process of its job, which serves "
                f"your site here. Run `workshed worker {words}` for it, and leave "
                f"it out here: workshed.embed(…, queues={others!r}). Or remove the option"
            )
