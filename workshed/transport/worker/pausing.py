"""The queues of which a worker process starts no jobs."""

import logging
import threading

from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.consuming.inbox import Inbox

logger = logging.getLogger(__name__)


class PauseState:
    """Holds back jobs of paused queues, or of all queues while this process should be quiet.

    Operators request quiet through PostgreSQL, the supervisor through a file. Each can withdraw
    only its own request.
    """

    def __init__(self, inbox: Inbox, execution: JobExecutor, queues: frozenset[str]) -> None:
        """Start without pauses; `queues` are all queues that this process consumes."""
        self._inbox = inbox
        self._execution = execution
        self._queues = queues
        self._paused_queues: frozenset[str] = frozenset()
        self._quiet_requests: set[str] = set()
        self._held_queues: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @property
    def is_quiet(self) -> bool:
        """Whether no jobs start here."""
        return bool(self._quiet_requests)

    def apply(self, paused: frozenset[str], until: str, *, quiet: bool) -> None:
        """Hold back the `paused` queues, or all queues if this process should be `quiet`."""
        with self._lock:
            for name in paused - self._paused_queues:
                logger.info("queue %s is paused", name)
            for name in self._paused_queues - paused:
                logger.info("queue %s is resumed", name)
            self._paused_queues = paused
            self._update_quiet(until, enabled=quiet)
            self._apply_held()

    def set_quiet(self, until: str, *, enabled: bool) -> None:
        """Start no jobs until the event named in `until`; `enabled=False` withdraws that."""
        with self._lock:
            self._update_quiet(until, enabled=enabled)
            self._apply_held()

    def requeue_held(self) -> None:
        """Requeue waiting deliveries of held queues, and those that have waited too long."""
        held = self._held_queues
        self._execution.requeue_waiting(lambda d: d.queue_name in held or d.has_waited_too_long)

    def _update_quiet(self, until: str, *, enabled: bool) -> None:
        if enabled and until not in self._quiet_requests:
            self._quiet_requests.add(until)
            logger.info("quiet: starts no more jobs until %s", until)
        elif not enabled and until in self._quiet_requests:
            self._quiet_requests.remove(until)
            if not self._quiet_requests:
                logger.info("no longer quiet: starts jobs again")

    def _apply_held(self) -> None:
        held = self._paused_queues | self._queues if self._quiet_requests else self._paused_queues
        for name in held - self._held_queues:
            self._execution.work.pause(name)
        for name in self._held_queues - held:
            self._execution.work.resume(name)
        self._held_queues = held
        self._inbox.pause(held)
