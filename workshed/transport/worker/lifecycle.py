"""What a worker process runs in addition to its jobs, from boot to exit."""

import functools
import gc
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, cast

from dramatiq.broker import MessageProxy
from dramatiq.worker import Worker

from workshed import db
from workshed.errors import WorkshedError
from workshed.health.status import ProcessStatus
from workshed.jobs.control import queues
from workshed.middleware import TimeLimit
from workshed.middleware.retrying.retries import retry_queues
from workshed.queues import Queue
from workshed.settings import settings
from workshed.transport.base import WorkshedBroker, describe_actors
from workshed.transport.consuming.delivery import START_BEFORE, Delivery
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.consuming.inbox import Inbox, WatchedLoop
from workshed.transport.consuming.work_queue import WorkQueue
from workshed.transport.worker.control import ControlPoller
from workshed.transport.worker.health import WorkerStatusReporter
from workshed.transport.worker.heartbeat import WorkerHeartbeat
from workshed.transport.worker.pausing import PauseState
from workshed.transport.worker.shutdown import GracefulShutdown
from workshed.transport.worker.watchdog import EmbeddedWatchdog, Watchdog, reset_timer

logger = logging.getLogger(__name__)


class WorkerLifecycle:
    """Owns the work queue, the control poller, the watchdog, and the shutdown."""

    def __init__(self, inbox: Inbox, execution: JobExecutor, grace: timedelta) -> None:
        """Start nothing, because programs that only send have no worker."""
        self._inbox = inbox
        self._execution = execution
        self._grace = grace
        self._threads = 0
        self._watchdog: Watchdog | None = None
        self._shutdown: GracefulShutdown | None = None
        """Set once a worker has booted, like the next two."""
        self._control_poller: ControlPoller | None = None
        self._status_reporter: WorkerStatusReporter | None = None
        self._is_embedded = False
        self._stuck_jobs: list[Delivery] = []
        """Jobs that have run past their hard limit in a web process."""

    def boot(self, worker: Worker, broker: WorkshedBroker) -> None:
        """Replace dramatiq's work queue before anything is consumed."""
        self._inbox.reset()
        declared = broker.declared_queues.values()
        weights = {queue.name: queue.weight for queue in declared}
        caps = {queue.name: queue.cap for queue in declared if queue.cap is not None}
        self._execution.work = WorkQueue(weights, caps)
        worker.work_queue = cast("Any", self._execution.work)
        self._threads = worker.worker_threads
        with db.transaction() as conn:
            queues.declare_queues(conn, {queue.name: queue.kind for queue in declared})
            queues.declare_actors(conn, describe_actors(broker))
        limits, grace_s = find_time_limit(broker), self._grace.total_seconds()
        self._shutdown = GracefulShutdown(
            self._inbox, self._execution, limits.interrupt_all, grace_s
        )
        self._is_embedded = broker.is_embedded
        limits.recycle = functools.partial(self._recycle_process, broker)
        if self._is_embedded:
            limits.recycle = self._report_stuck
        self._shutdown.install_signal_handlers()
        names = sorted(worker.consumer_whitelist or broker.queues)
        beat = WorkerHeartbeat(self._execution, self._inbox, names, worker.worker_threads)
        pausing = PauseState(self._inbox, self._execution, beat.queues)
        self._control_poller = ControlPoller(pausing, self._execution, beat)
        folder = settings().shared_folder
        self._status_reporter = WorkerStatusReporter(
            folder, self._inbox, self._execution, pausing, self._control_poller
        )
        self._status_reporter.read_commands()
        self._control_poller.start()
        if not self._is_embedded:
            reset_timer()  # the first job may freeze this process before its watchdog first runs

    def _recycle_process(
        self, broker: WorkshedBroker, message: MessageProxy, error: BaseException
    ) -> None:
        """Exit because a job does not end at its hard limit."""
        if isinstance(message, Delivery) and self._shutdown is not None:
            self._shutdown.recycle_process(message, broker.get_actor(message.actor_name), error)

    def _report_stuck(self, message: MessageProxy, error: BaseException) -> None:
        """Log that a job does not end; a web process keeps running, and has a thread less."""
        logger.critical("%s %s; its thread is lost until it ends", message, error)
        if isinstance(message, Delivery):
            self._stuck_jobs.append(message)

    def status(self) -> ProcessStatus:
        """Return the status of the worker in this process."""
        if self._status_reporter is None:
            return ProcessStatus("worker", problems=["it is not up"])
        found = self._status_reporter.collect_status()
        if isinstance(self._watchdog, EmbeddedWatchdog) and self._watchdog.fatal_problem:
            found.fatal_problems.append(self._watchdog.fatal_problem)
        running = {id(job) for job in self._execution.running_jobs}
        self._stuck_jobs = [job for job in self._stuck_jobs if id(job) in running]
        found.problems.extend(f"{job} has run past its hard limit" for job in self._stuck_jobs)
        return found

    def choose_prefetch(self, queue: Queue, default_prefetch: int) -> int:
        """Return how many deliveries of a queue this process holds.

        For a queue with a cap that is the cap: more would wait here while another process is idle.
        For any other queue it is at least the number of threads, because with fewer the weights
        would have no effect.
        """
        return queue.cap or max(queue.prefetch or default_prefetch, self._threads)

    def start_watching(self, worker: Worker, links: Callable[[], Iterable[WatchedLoop]]) -> None:
        """Start to watch the threads, which run now.

        Freezes the objects created so far, so that the garbage collector does not scan them again,
        except in a web process, where some of them are of requests.
        """
        kind = EmbeddedWatchdog if self._is_embedded else Watchdog
        self._watchdog = kind(worker, links)
        self._watchdog.start()
        if self._status_reporter is not None:
            self._status_reporter.start(set(worker.consumers))
        if not self._is_embedded:
            gc.collect()
            gc.freeze()

    def begin_shutdown(self) -> None:
        """Start no more jobs, and requeue waiting ones; does nothing if the worker never booted."""
        if self._watchdog is not None:
            self._watchdog.stop()
        if self._shutdown is not None:
            self._shutdown.begin()

    def finish(self) -> None:
        """Stop the helper threads, once no job runs any more."""
        if self._status_reporter is not None:
            self._status_reporter.stop()
        if self._control_poller is not None:
            self._control_poller.stop()
        if self._shutdown is not None:
            self._shutdown.restore_signal_handlers()
        self._watchdog = self._shutdown = self._control_poller = self._status_reporter = None


def find_time_limit(broker: WorkshedBroker) -> TimeLimit:
    """Return the middleware that can interrupt actors."""
    return next(m for m in broker.middleware if isinstance(m, TimeLimit))


def check_time_limits(broker: WorkshedBroker, names: set[str]) -> None:
    """Refuse time limits so long that RabbitMQ's consumer timeout could strike during a job.

    That timeout counts from the delivery, not from the start, and closes the channel, with all of
    its other deliveries.
    """
    default_ms = find_time_limit(broker).default_ms
    for actor in broker.actors.values():
        limit = timedelta(milliseconds=actor.options.get("time_limit", default_ms))
        hard = timedelta(milliseconds=actor.options.get("hard_time_limit", 0))
        for name in sorted({actor.queue_name, *retry_queues(actor)} & names):
            timeout = broker.declared_queues[name].consumer_timeout
            if limit > timeout / 2:
                raise WorkshedError(
                    f"{actor.actor_name}: a time limit of {limit} is more than half of the "
                    f"consumer timeout of queue {name!r} ({timeout}); shorten it, or declare "
                    "the queue with a longer `consumer_timeout`"
                )
            if hard > timeout * (1 - START_BEFORE):
                raise WorkshedError(
                    f"{actor.actor_name}: a hard time limit of {hard} is more than three quarters "
                    f"of the consumer timeout of queue {name!r} ({timeout}); shorten it, or "
                    "declare the queue with a longer `consumer_timeout`"
                )
