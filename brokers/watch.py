"""Follow what operators say: paused queues, cancelled jobs, and that this worker is to be quiet."""

import logging
import threading

from brokers.consumer import Inbox
from brokers.execution import Execution
from brokers.gauges import Gauges
from brokers.worker_beat import WorkerBeat
from workshed import db
from workshed.db import Connection
from workshed.jobs import cancels, queues, relays, rules

logger = logging.getLogger(__name__)

LOOK_S = 1.0
LOOKS_WITHOUT_RELAY = 10
"""In a row, before that is said: at boot a relay comes up after its workers."""


class Watch:
    """A thread that looks into PostgreSQL every second; while it is away nothing changes."""

    def __init__(self, inbox: Inbox, execution: Execution, beat: WorkerBeat) -> None:
        """Start nothing."""
        self._beat = beat
        self._gauges = Gauges(execution.running, beat.process.threads)
        self._inbox = inbox
        self._execution = execution
        self._over = threading.Event()
        self._paused: frozenset[str] = frozenset()
        self._quiet = False
        self._held: frozenset[str] = frozenset()
        """Queues of which nothing starts here: those that are paused, or all."""
        self._xmin = 0
        self._looks_without_relay = 0
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Look once, so that no job starts that was cancelled before; then go on looking."""
        with db.connect() as conn:
            self.look(conn)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and say that this worker has ended."""
        self._over.set()
        self._thread.join(2 * LOOK_S)
        self._beat.leave()

    def look(self, conn: Connection) -> None:
        """Take over what has changed, and give back what should not wait here any longer."""
        self._xmin, cancelled = cancels.since(conn, self._xmin)
        told = self._execution.learn_of_cancels(set(cancelled), rules.find(conn))
        if told:
            cancels.told(conn, told)
        self._follow(queues.paused(conn), quiet=self._beat.quiet)
        alive = relays.alive(conn)
        self._note_relay(alive=alive)
        self._gauges.look(relay_alive=alive)
        self._beat(conn)
        held = self._held
        self._execution.give_back(lambda d: d.queue_name in held or d.has_waited_too_long)

    @property
    def is_ready(self) -> bool:
        """Tell whether delays, retries and stored jobs are sent: some relay lives."""
        return self._looks_without_relay < LOOKS_WITHOUT_RELAY

    def _note_relay(self, *, alive: bool) -> None:
        """Say that no relay lives anywhere, once, and that one does again; jobs go on meanwhile."""
        was_ready = self.is_ready
        self._looks_without_relay = 0 if alive else self._looks_without_relay + 1
        if was_ready and not self.is_ready:
            logger.warning(
                "not ready: no relay beats anywhere, so delays, retries and stored jobs wait; "
                "run `workshed worker`, or `workshed relay`"
            )
        elif self.is_ready and not was_ready:
            logger.info("ready again: a relay beats")

    def _follow(self, paused: frozenset[str], *, quiet: bool) -> None:
        """Start nothing of these queues; of none where this worker is to be quiet."""
        self._say(paused, quiet=quiet)
        held = paused | self._beat.queues if quiet else paused
        for name in held - self._held:
            self._execution.work.pause(name)
        for name in self._held - held:
            self._execution.work.resume(name)
        self._held = held
        self._inbox.pause(held)

    def _say(self, paused: frozenset[str], *, quiet: bool) -> None:
        for name in paused - self._paused:
            logger.info("queue %s is paused", name)
        for name in self._paused - paused:
            logger.info("queue %s goes on", name)
        if quiet and not self._quiet:
            logger.info("quiet: starts nothing more until `workshed workers resume`")
        elif self._quiet and not quiet:
            logger.info("no longer quiet: starts jobs again")
        self._paused, self._quiet = paused, quiet

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            try:
                with db.answering(), db.connect() as conn:
                    while not self._over.is_set():
                        self.look(conn)
                        self._over.wait(LOOK_S)
            except Exception as err:  # noqa: BLE001 -- it looks again, whatever it was
                logger.warning("paused queues and cancels are not read: %s", str(err).strip())
