"""Follow operators' commands in PostgreSQL: paused queues, cancelled jobs, quiet workers."""

import logging
import time

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.control import cancel_rules, cancellations, queues
from workshed.jobs.outbox import relays
from workshed.metrics import meters
from workshed.threads.connected import ConnectedThread
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.worker.gauges import WorkerGauges
from workshed.transport.worker.heartbeat import WorkerHeartbeat
from workshed.transport.worker.pausing import PauseState

logger = logging.getLogger(__name__)

POLL_S = 1.0
SILENT_S = 5.0
"""PostgreSQL counts as unreachable after this long without an answer."""
RESUME = "`workshed workers resume`"
POLLS_WITHOUT_RELAY = 10
"""Polls in a row without a relay before that is reported: at boot, a relay starts after workers."""


class ControlPoller:
    """A thread that polls PostgreSQL every second; during an outage nothing changes."""

    def __init__(self, pausing: PauseState, execution: JobExecutor, beat: WorkerHeartbeat) -> None:
        """Prepare the thread, which `start` starts."""
        self._heartbeat = beat
        self._gauges = WorkerGauges(execution.running_jobs, beat.process.threads)
        self._pause_state = pausing
        self._execution = execution
        self._has_answered = True
        self._answered_at = time.monotonic()
        self._xmin = 0
        self._polls_without_relay = 0
        self._thread = ConnectedThread(
            "watch", self.poll, POLL_S, delay_s=POLL_S, report=self._report_outage
        )

    def start(self) -> None:
        """Poll once, so that no job starts that was cancelled before; then start the thread."""
        with db.connect() as conn:
            self.poll(conn)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and record that this worker has ended."""
        self._thread.stop(2 * POLL_S)
        self._heartbeat.record_end()

    def poll(self, conn: Connection) -> None:
        """Apply changes, and requeue deliveries that should not wait here any longer."""
        self._xmin, cancelled = cancellations.list_since(conn, self._xmin)
        notified = self._execution.apply_cancellations(
            set(cancelled), cancel_rules.list_rules(conn)
        )
        if notified:
            cancellations.mark_notified(conn, notified)
        self._pause_state.apply(queues.list_paused(conn), RESUME, quiet=self._heartbeat.is_quiet)
        alive = relays.is_any_alive(conn)
        self._record_relay_state(alive=alive)
        self._gauges.update(relay_alive=alive)
        meters.POSTGRESQL_UP.set(1)
        self._heartbeat(conn)
        self._pause_state.requeue_held()
        self._has_answered, self._answered_at = True, time.monotonic()

    @property
    def problem(self) -> str | None:
        """What is wrong with PostgreSQL, or that it knows no live relay; `None` if nothing is."""
        silent_s = time.monotonic() - self._answered_at
        if not self._has_answered or silent_s > SILENT_S:
            return f"PostgreSQL does not answer, for {silent_s:.0f} s"
        return None if self.is_ready else "no relay is running"

    @property
    def is_ready(self) -> bool:
        """Whether a relay is alive, so that delayed jobs, retries and outbox jobs are sent."""
        return self._polls_without_relay < POLLS_WITHOUT_RELAY

    def _record_relay_state(self, *, alive: bool) -> None:
        """Log once that no relay is alive, and when one is again; jobs run meanwhile."""
        was_ready = self.is_ready
        self._polls_without_relay = 0 if alive else self._polls_without_relay + 1
        if was_ready and not self.is_ready:
            logger.warning(
                "not ready: no relay is running, so delayed jobs, retries and outbox jobs are not "
                "published; run `workshed worker`, or `workshed relay`"
            )
        elif self.is_ready and not was_ready:
            logger.info("ready again: a relay is running")

    def _report_outage(self, error: Exception, _pause_s: float) -> None:
        self._has_answered = False
        meters.POSTGRESQL_UP.set(0)
        logger.warning("cannot read paused queues and cancellations: %s", str(error).strip())
