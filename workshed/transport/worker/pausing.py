"""The queues of which a worker process starts no jobs."""

import logging
import threading

from workshed.transport.consuming.consumer import ConsumerConnection
from workshed.transport.consuming.execution import JobExecutor

logger = logging.getLogger(__name__)


class PauseState:
    """Holds back jobs of paused queues, or of all queues while this process should be quiet.

    Operators request quiet through PostgreSQL, the supervisor through a file. Each can withdraw
    only its own request.
    """

    def __init__(
        self, inbox: ConsumerConnection, execution: JobExecutor, queues: frozenset[str]
    ) -> None:
        """Start without pauses; `queues` are all queues that this process consumes."""
        self._inbox = inbox
        self._execution = execution
        self._queues = queues
        self._paused: frozenset[str] = frozenset()
        self._quiet: set[str] = set()
        self._held: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @property
    def is_quiet(self) -> bool:
        """Whether no jobs start here."""
        return bool(self._quiet)

    def follow(self, paused: frozenset[str], until: str, *, quiet: bool) -> None:
        """Hold back the `paused` queues, or all queues if this process should be `quiet`."""
        with self._lock:
            for name in paused - self._paused:
                logger.info("queue %s is paused", name)
            for name in self._paused - paused:
                logger.info("queue %s is resumed", name)
            self._paused = paused
            self._hear(until, wanted=quiet)
            self._take_over()

    def be_quiet(self, until: str, *, wanted: bool) -> None:
        """Start no jobs until the event named in `until`; `wanted=False` withdraws that."""
        with self._lock:
            self._hear(until, wanted=wanted)
            self._take_over()

    def give_back(self) -> None:
        """Requeue waiting deliveries of held queues, and those that have waited too long."""
        held = self._held
        self._execution.give_back(lambda d: d.queue_name in held or d.has_waited_too_long)

    def _hear(self, until: str, *, wanted: bool) -> None:
        if wanted and until not in self._quiet:
            self._quiet.add(until)
            logger.info("quiet: starts no more jobs until %s", until)
        elif not wanted and until in self._quiet:
            self._quiet.remove(until)
            if not self._quiet:
                logger.info("no longer quiet: starts jobs again")

    def _take_over(self) -> None:
        held = self._paused | self._queues if self._quiet else self._paused
        for name in held - self._held:
            self._execution.work.pause(name)
        for name in self._held - held:
            self._execution.work.resume(name)
        self._held = held
        self._inbox.pause(held)
