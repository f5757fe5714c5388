"""The relay of an installation without RabbitMQ: it does the duties, and publishes nothing."""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import uuid4

from workshed import db, migrate
from workshed.database.postgres import Connection, database_now
from workshed.errors import DatabaseUnreachableError
from workshed.health.readiness import notify_ready
from workshed.health.status import ProcessStatus
from workshed.jobs.control import queues, workers
from workshed.jobs.outbox import claims, relays, worker_claims
from workshed.jobs.outbox.relays import DEAD_AFTER
from workshed.metrics import meters
from workshed.queues import Queue
from workshed.transport.relay.background import BackgroundTasks, RelayTask
from workshed.transport.relay.health import RelayHeartbeat

logger = logging.getLogger(__name__)

POLL_S = 1.0


class Keeper:
    """Creates periodic runs, wakes waiting jobs, prunes, measures, and finds dead workers.

    Workers take their jobs themselves. Any number of keepers may run; one is enough.
    """

    def __init__(
        self, stop: threading.Event, declared: Iterable[Queue], duties: Sequence[RelayTask]
    ) -> None:
        """Take the declared queues, and `duties` for a background thread."""
        self.id = uuid4()
        self._stop_event = stop
        self._declared_queues = list(declared)
        self._tasks = duties
        self._has_database = False
        self._last_cycle_at = time.monotonic()

    def status(self) -> ProcessStatus:
        """Return the status as of the last turn of its loop."""
        return ProcessStatus(
            "relay",
            problems=[] if self._has_database else ["PostgreSQL does not answer"],
            is_shutting_down=self._stop_event.is_set(),
            at=self._last_cycle_at,
        )

    def run(self) -> None:
        """Work until `stop` is set."""
        while not self._stop_event.is_set():
            self._last_cycle_at = time.monotonic()
            try:
                with db.limited_wait(), db.connect() as conn:
                    migrate.require_stream(conn, "workshed")
                    claims.use_indexes(conn)
                    self._work(conn)
            except (*db.TRANSIENT_ERRORS, DatabaseUnreachableError) as err:
                meters.POSTGRESQL_UP.set(0)
                logger.warning("relay: %s; trying again", str(err).strip())
                self._has_database = False
                self._stop_event.wait(POLL_S)

    def _work(self, conn: Connection) -> None:
        queues.declare_queues(conn, {queue.name: queue.kind for queue in self._declared_queues})
        beat, watch = RelayHeartbeat(self.id), ClaimWatch()
        meters.POSTGRESQL_UP.set(1)
        beat(conn)
        with BackgroundTasks("heartbeat", [beat]), BackgroundTasks("duties", self._tasks):
            self._has_database = True
            notify_ready()
            while not self._stop_event.is_set():
                self._last_cycle_at = time.monotonic()
                watch(conn)
                self._stop_event.wait(POLL_S)
        relays.delete_relay(conn, self.id)


class ClaimWatch:
    """Releases the rows of dead workers, and makes rows due after the clock was set back."""

    def __init__(self) -> None:
        """Begin with a new connection, before which other processes may have been silent."""
        self._connected_at = time.monotonic()
        self._latest_clock: datetime | None = None

    def __call__(self, conn: Connection) -> None:
        """Look once."""
        if time.monotonic() - self._connected_at > DEAD_AFTER.total_seconds():
            # An outage silences every process: others get the time to send a heartbeat.
            workers.expire_silent(conn)
            if count := worker_claims.release_orphaned(conn):
                logger.warning("%d jobs of dead workers are delivered again", count)
        now = database_now(conn)
        if self._latest_clock is not None and now < self._latest_clock:
            claims.make_due_now(conn)
        self._latest_clock = max(now, self._latest_clock or now)
