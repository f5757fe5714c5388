"""Follow what operators say in PostgreSQL: paused queues, cancelled jobs, a worker to be quiet."""

import logging
import threading
import time

from workshed import db
from workshed.db import Connection
from workshed.jobs.control import cancel_rules, cancellations, queues
from workshed.jobs.outbox import relays
from workshed.metrics import meters
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.worker.gauges import WorkerGauges
from workshed.transport.worker.heartbeat import WorkerHeartbeat
from workshed.transport.worker.pausing import PauseState

logger = logging.getLogger(__name__)

LOOK_S = 1.0
SILENT_S = 5.0
"""PostgreSQL is away when it has answered no look for so long."""
RESUME = "`workshed workers resume`"
LOOKS_WITHOUT_RELAY = 10
"""In a row, before that is said: at boot a relay comes up after its workers."""


class ControlPoller:
    """A thread that looks into PostgreSQL every second; while it is away nothing changes."""

    def __init__(self, pausing: PauseState, execution: JobExecutor, beat: WorkerHeartbeat) -> None:
        """Start nothing."""
        self._beat = beat
        self._gauges = WorkerGauges(execution.running, beat.process.threads)
        self._pausing = pausing
        self._execution = execution
        self._over = threading.Event()
        self._answered = True
        self._answered_at = time.monotonic()
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
        self._xmin, cancelled = cancellations.list_since(conn, self._xmin)
        told = self._execution.learn_of_cancels(set(cancelled), cancel_rules.list_rules(conn))
        if told:
            cancellations.mark_notified(conn, told)
        self._pausing.follow(queues.list_paused(conn), RESUME, quiet=self._beat.quiet)
        alive = relays.is_any_alive(conn)
        self._note_relay(alive=alive)
        self._gauges.look(relay_alive=alive)
        meters.POSTGRESQL_UP.set(1)
        self._beat(conn)
        self._pausing.give_back()
        self._answered, self._answered_at = True, time.monotonic()

    @property
    def trouble(self) -> str | None:
        """Say what is wrong with PostgreSQL, or with relays as it knows of them."""
        silent_s = time.monotonic() - self._answered_at
        if not self._answered or silent_s > SILENT_S:
            return f"PostgreSQL does not answer, for {silent_s:.0f} s"
        return None if self.is_ready else "no relay beats anywhere"

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

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            try:
                with db.limited_wait(), db.connect() as conn:
                    while not self._over.is_set():
                        self.look(conn)
                        self._over.wait(LOOK_S)
            except Exception as err:  # noqa: BLE001 -- it looks again, whatever it was
                self._answered = False
                meters.POSTGRESQL_UP.set(0)
                logger.warning("paused queues and cancels are not read: %s", str(err).strip())
