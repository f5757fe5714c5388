"""Which queues a worker process starts nothing of."""

import logging
import threading

from workshed.transport.consuming.consumer import ConsumerConnection
from workshed.transport.consuming.execution import JobExecutor

logger = logging.getLogger(__name__)


class PauseState:
    """Those that are paused, or all of them while somebody wants this process to be quiet.

    Operators say so by PostgreSQL, and the supervisor by a file: each takes back its own word only.
    """

    def __init__(
        self, inbox: ConsumerConnection, execution: JobExecutor, queues: frozenset[str]
    ) -> None:
        """Pause nothing; `queues` are all that are worked off here."""
        self._inbox = inbox
        self._execution = execution
        self._queues = queues
        self._paused: frozenset[str] = frozenset()
        self._quiet: set[str] = set()
        self._held: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @property
    def is_quiet(self) -> bool:
        """Tell whether nothing starts here."""
        return bool(self._quiet)

    def follow(self, paused: frozenset[str], until: str, *, quiet: bool) -> None:
        """Let nothing of these queues start, and nothing at all where it is to be `quiet`."""
        with self._lock:
            for name in paused - self._paused:
                logger.info("queue %s is paused", name)
            for name in self._paused - paused:
                logger.info("queue %s goes on", name)
            self._paused = paused
            self._hear(until, wanted=quiet)
            self._take_over()

    def be_quiet(self, until: str, *, wanted: bool) -> None:
        """Let nothing start until what is named has happened; or take that back."""
        with self._lock:
            self._hear(until, wanted=wanted)
            self._take_over()

    def give_back(self) -> None:
        """Give RabbitMQ what waits here and does not start here, or not soon enough."""
        held = self._held
        self._execution.give_back(lambda d: d.queue_name in held or d.has_waited_too_long)

    def _hear(self, until: str, *, wanted: bool) -> None:
        if wanted and until not in self._quiet:
            self._quiet.add(until)
            logger.info("quiet: starts nothing more until %s", until)
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
