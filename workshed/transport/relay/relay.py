"""Publish jobs that are due: the only way from the schedule to RabbitMQ."""

import importlib
import logging
import math
import signal
import sys
import threading
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from workshed import db, logs, migrate
from workshed.app import get_app, load_object
from workshed.database.postgres import Connection, database_now
from workshed.errors import DatabaseUnreachableError, WorkshedError
from workshed.health.readiness import notify_ready
from workshed.health.status import ProcessStatus
from workshed.jobs.batches import batches
from workshed.jobs.control import queues
from workshed.jobs.dead import dead_jobs
from workshed.jobs.maintenance import retention
from workshed.jobs.outbox import claims, relays
from workshed.jobs.outbox.claims import ClaimedRow
from workshed.jobs.outbox.relays import DEAD_AFTER
from workshed.metrics import meters
from workshed.metrics.meters import OTHER
from workshed.metrics.metric import Counter
from workshed.parent import die_with_parent
from workshed.queues import Queue
from workshed.settings import settings
from workshed.transport.amqp.redeclaration import list_used_queues, rebind_lost, redeclare_lost
from workshed.transport.build import get_broker
from workshed.transport.errors import BrokerBlockedError, EnvelopeError, UnroutableError, exit_code
from workshed.transport.messages.envelope import decode_message, message_properties
from workshed.transport.publishing.publisher import ConfirmBatch, PendingPublish
from workshed.transport.publishing.queue_depth import QueueDepthClient
from workshed.transport.rabbitmq import RabbitMQBroker
from workshed.transport.relay.background import BackgroundTasks, RelayTask
from workshed.transport.relay.batch_cancels import cancel_batch_jobs
from workshed.transport.relay.gauges import collect_outbox_gauges
from workshed.transport.relay.health import RelayHeartbeat
from workshed.transport.relay.keeper import Keeper
from workshed.transport.relay.lag import warn_if_late
from workshed.transport.relay.lateness import collect_periodic_lateness
from workshed.transport.relay.limit_waiters import wake_limit_waiters
from workshed.transport.relay.maintenance import Maintenance, delete_silent_processes
from workshed.transport.relay.missed_runs import create_missed_runs
from workshed.transport.relay.pruner import Pruner
from workshed.transport.relay.queue_age import QueueAgeEstimator
from workshed.transport.relay.redelivery import ClassicQueueRedelivery
from workshed.transport.relay.relay_status import RelayStatusReporter
from workshed.transport.relay.run_counts import RunCountMover
from workshed.transport.relay.table_depths import TableGauges
from workshed.transport.sidecars.supervisor import set_from_signal_handler
from workshed.transport.stub import Stub
from workshed.value_class import value_class

logger = logging.getLogger("workshed.transport.relay.relay")  # not `__main__`, as `-m` runs it

WINDOW = 500
WINDOWS_IN_FLIGHT = 2
POLL_S = 0.02
SWEEP_S = 1.0
SWEEP_SHARE = 0.05
"""Share of the time that sweeps may take, however many rows they have to scan."""
COMMIT_TIME = timedelta(seconds=1)
"""Rows of a transaction that was open for longer wait for the next sweep."""
CONFIRM_S = 30.0
SHUTDOWN_S = 5.0
RETRY_DELAY = timedelta(seconds=5)
PAUSE_S = 1.0


@value_class
class ClaimedBatch:
    """Rows that were claimed together, and their publications, one for each."""

    owner: UUID
    """The relay's ID when it claimed them."""
    rows: list[ClaimedRow]
    confirms: ConfirmBatch


class Relay:
    """Claims windows of due rows, publishes them, and deletes those that RabbitMQ confirmed.

    No transaction is open while a window is published. Any number of relays may run; one is
    enough. A relay that is killed between the confirm and the delete leaves rows that another sends
    again; workers drop those copies as duplicates.
    """

    def __init__(
        self,
        publisher: QueueDepthClient,
        stop: threading.Event,
        *,
        declared: Iterable[Queue] = (),
        duties: Sequence[RelayTask] = (warn_if_late,),
    ) -> None:
        """Take the queues to redeclare if they are lost, and `duties` for a background thread."""
        self.id = uuid4()
        self._publisher = publisher
        self._stop_event = stop
        self._declared_queues = {queue.name: queue for queue in declared}
        self._tasks = duties
        self._in_flight: deque[ClaimedBatch] = deque()
        self._claim_since: datetime | None = None
        self._last_claim_at = math.inf
        self._connected_at = -math.inf
        self._last_sweep_at: datetime | None = None
        self._latest_clock: datetime | None = None
        self._next_sweep_at = 0.0
        self._known_queues: set[str] = set()
        self._has_database = False
        self._has_redeclared = False
        self._last_cycle_at = time.monotonic()

    def status(self) -> ProcessStatus:
        """Return the status of this relay, as of the last turn of its loop."""
        troubles = [] if self._has_database else ["PostgreSQL does not answer"]
        if not self._publisher.is_connected:
            troubles.append("RabbitMQ is not connected")
        return ProcessStatus(
            "relay",
            problems=troubles,
            is_shutting_down=self._stop_event.is_set(),
            at=self._last_cycle_at,
        )

    def run(self) -> None:
        """Work until `stop` is set, then finish the windows in flight."""
        self._publisher.connect()  # so that `pulse` knows RabbitMQ's state even without PostgreSQL
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
                self._abandon_in_flight()
                # The commit of a claim may have succeeded without an answer. A new ID lets such
                # rows be claimed again, once the old ID has been silent for long enough.
                self.id = uuid4()
                self._stop_event.wait(PAUSE_S)

    def _work(self, conn: Connection) -> None:
        # Stores their kinds, because rows of a classic queue stay until their outcome.
        queues.declare_queues(
            conn, {queue.name: queue.kind for queue in self._declared_queues.values()}
        )
        beat = RelayHeartbeat(self.id)
        self._connected_at = time.monotonic()
        meters.POSTGRESQL_UP.set(1)
        beat(conn)  # before any claim, which another relay would otherwise take as orphaned
        with BackgroundTasks("heartbeat", [beat]), BackgroundTasks("duties", self._tasks):
            self._has_database = True
            notify_ready()
            if not self._has_redeclared:
                # A worker may declare the queues that we may not; until then their rows stay.
                redeclare_lost(self._publisher.urls, list_used_queues(conn, self._declared_queues))
                self._has_redeclared = True
            while self._in_flight:  # windows from before the database was lost
                self._finish_oldest_batch(conn)
            while not self._stop_event.is_set():
                if not self._cycle(conn):
                    self._stop_event.wait(self._pause(conn))
            while self._in_flight:
                self._finish_oldest_batch(conn)
        relays.delete_relay(conn, self.id)

    def _abandon_in_flight(self) -> None:
        """Withdraw unsent publishes, because another relay may claim their rows by then."""
        deadline = time.monotonic() + PAUSE_S
        for window in self._in_flight:
            self._publisher.wait(window.confirms, deadline)

    def _cycle(self, conn: Connection) -> bool:
        """Publish one window, and settle the oldest one; False if nothing was due."""
        self._last_cycle_at = time.monotonic()
        # While RabbitMQ takes nothing, claims would only hide rows from a relay that can send.
        rows = self._claim(conn) if self._publisher.wait_until_writable(PAUSE_S) else []
        if rows:
            self._in_flight.append(self._publish(conn, rows))
        if self._in_flight and (not rows or len(self._in_flight) >= WINDOWS_IN_FLIGHT):
            self._finish_oldest_batch(conn)
        return bool(rows or self._in_flight)

    def _claim(self, conn: Connection) -> list[ClaimedRow]:
        """Claim rows that are due, starting where the last claim ended.

        A periodic sweep claims the rows that this misses: those of dead relays, those of
        transactions that were open for long, and those that were stored for a time in the past.
        """
        self._last_claim_at = time.monotonic()
        if self._last_claim_at >= self._next_sweep_at:
            return self._sweep(conn)
        return self._remember_position(
            claims.claim_due(conn, self.id, WINDOW, since=self._claim_since)
        )

    def _sweep(self, conn: Connection) -> list[ClaimedRow]:
        started = time.monotonic()
        # Workers without RabbitMQ run what they have claimed: a copy of it would run at once.
        spare = started - self._connected_at < DEAD_AFTER.total_seconds()
        if orphaned := claims.claim_orphaned(conn, self.id, WINDOW, spare_workers=spare):
            return orphaned
        self._known_queues = {queue.name for queue in queues.list_queues(conn)}
        now = database_now(conn)
        if self._last_sweep_at is not None and now < self._last_sweep_at:
            logger.warning(
                "PostgreSQL's clock was set back by %s; check the time of its host",
                self._last_sweep_at - now,
            )
        self._last_sweep_at = now
        if self._latest_clock is not None and now < self._latest_clock:
            # In each sweep until the clock has caught up: a transaction may have been open.
            claims.make_due_now(conn)
        self._latest_clock = max(now, self._latest_clock or now)
        rows = claims.claim_due(conn, self.id, WINDOW)
        self._claim_since = now - COMMIT_TIME
        ended = time.monotonic()
        self._next_sweep_at = ended + max(SWEEP_S, (ended - started) / SWEEP_SHARE)
        return self._remember_position(rows)

    def _remember_position(self, rows: list[ClaimedRow]) -> list[ClaimedRow]:
        if len(rows) == WINDOW:  # there may be more rows, due no earlier than these
            self._claim_since = rows[-1].due_at - COMMIT_TIME
        return rows

    def _publish(self, conn: Connection, rows: list[ClaimedRow]) -> ClaimedBatch:
        ticket = ConfirmBatch()
        readable: list[ClaimedRow] = []
        for row in rows:
            body = row.body.encode()
            try:
                message = decode_message(body, row.queue)
            except EnvelopeError as err:
                dead_letter_row(conn, self.id, row, err)
                continue
            doubt = {"possible_duplicate": True} if row.possible_duplicate else {}
            ticket.add(row.queue, body, message_properties(message, outbox=True, **doubt))
            readable.append(row)
        self._publisher.submit(ticket)
        return ClaimedBatch(self.id, readable, ticket)

    def _finish_oldest_batch(self, conn: Connection) -> None:
        """Wait for the oldest window; delete confirmed rows, and put the others back."""
        window = self._in_flight[0]
        self._await_confirms(window.confirms)
        results = list(zip(window.rows, window.confirms.publications, strict=True))
        gone = [row for row, sent in results if sent.error is None]
        claims.delete_sent(conn, window.owner, gone)
        meters.RELAY_WINDOWS.add()
        self._count(meters.RELAY_SENT, gone)
        refused = [(row, sent) for row, sent in results if sent.error is not None]
        if refused:
            self._postpone_failed(conn, window.owner, refused)
        self._in_flight.popleft()  # only now, so that after a database error it is settled again

    def _await_confirms(self, ticket: ConfirmBatch) -> None:
        """Wait for the confirms; then withdraw publishes without one.

        While RabbitMQ blocks publishers, waits on: it reads pending publishes when the alarm ends,
        so giving them up would send them twice. No other relay could send them meanwhile either.
        """
        started = time.monotonic()
        while not ticket.all_confirmed.wait(PAUSE_S):
            self._last_cycle_at = time.monotonic()
            leaving = self._stop_event.is_set()
            if isinstance(self._publisher.outage(), BrokerBlockedError) and not leaving:
                started = time.monotonic()
            elif time.monotonic() - started > (SHUTDOWN_S if leaving else CONFIRM_S):
                break
        self._publisher.wait(ticket, time.monotonic())

    def _postpone_failed(
        self, conn: Connection, owner: UUID, refused: list[tuple[ClaimedRow, PendingPublish]]
    ) -> None:
        error = refused[0][1].error
        logger.error("%d jobs could not be published; trying again in 5 s: %s", len(refused), error)
        rows = [row for row, _ in refused]
        self._count(meters.RELAY_PUBLISH_FAILURES, rows)
        unknown = [publication.maybe_delivered for _, publication in refused]
        claims.release_rows(conn, owner, rows, RETRY_DELAY, unknown=unknown)
        lost = {row.queue for row, sent in refused if isinstance(sent.error, UnroutableError)}
        if known := lost & set(self._declared_queues):
            redeclare_lost(self._publisher.urls, [self._declared_queues[name] for name in known])
        if others := lost & self._known_queues - set(self._declared_queues):
            rebind_lost(self._publisher.urls, [self._publisher.prefix + name for name in others])

    def _count(self, counter: Counter, rows: list[ClaimedRow]) -> None:
        """Count rows by queue; those of undeclared queues count as `other`."""
        for queue, count in Tally(row.queue for row in rows).items():
            counter.add(queue if queue in self._known_queues else OTHER, amount=count)

    def _pause(self, conn: Connection) -> float:
        """Return for how many seconds nothing will be due, at most `LOOK_S`."""
        wait = claims.time_until_due(conn, since=self._claim_since)
        left = POLL_S if wait is None else wait.total_seconds()
        if (
            left < self._last_claim_at - time.monotonic()
        ):  # it was due but not claimed, so it can wait
            return POLL_S
        return min(max(left, 0.0), POLL_S)


def dead_letter_row(conn: Connection, relay: UUID, row: ClaimedRow, error: EnvelopeError) -> None:
    """Move a row that no consumer could read to the dead table, so that it blocks nothing."""
    with conn.transaction():
        dead_jobs.add_dead_job(
            conn,
            message_id=row.message_id,
            generation=row.generation,
            attempt=0,
            queue=row.queue,
            actor=None,
            body=row.body.encode(),
            reason=str(error),
            error=error,
        )
        claims.delete_row(conn, relay, row)
        batches.end_batch_job(conn, row.message_id, "dead")


def run_relay(stop: threading.Event, *, serves: bool = False) -> None:
    """Run a relay of this process's broker until `stop` is set.

    `serves`: it serves its metrics and probes itself, unless it shares a folder with workers.
    """
    found = get_broker()
    if isinstance(found, Stub):
        raise WorkshedError("stub:// has no relay; set WORKSHED_BROKER_URL to a RabbitMQ")
    publisher = None
    relay: Relay | Keeper
    if isinstance(found, RabbitMQBroker):
        publisher = QueueDepthClient(found.urls, "relay", found.signing, found.prefix)
        redelivery = ClassicQueueRedelivery(
            publisher, found.declared_queues, settings().classic_queue_resend_after
        )
        duties: list[RelayTask] = [redelivery, *list_duties(), QueueAgeEstimator(publisher)]
        relay = Relay(publisher, stop, declared=found.declared_queues.values(), duties=duties)
    else:
        duties = [*list_duties(), TableGauges()]
        relay = Keeper(stop, found.declared_queues.values(), duties)
    # Apart from our duties, because an application's tasks may take long, or never end.
    tasks = BackgroundTasks(
        "tasks", [start_task(load_object(name)) for name in get_app().relay_tasks], SHUTDOWN_S
    )
    folder = settings().shared_folder
    if folder is None and serves:
        # Under `workshed worker` the supervisor serves, and the relay needs no HTTP server.
        endpoints = importlib.import_module("workshed.health.endpoints")
        endpoints.serve_own(lambda: [relay.status()], of="relay")
    logger.info("relay is running")
    with RelayStatusReporter(folder, relay.status), tasks:
        relay.run()
    if publisher is not None:
        publisher.close()
    logger.info("relay has ended")


def list_duties() -> list[RelayTask]:
    """Return what every relay does in the background, with and without RabbitMQ."""
    return [
        Maintenance(settings().deduplication_retention),
        delete_silent_processes,
        Pruner(retention.retention_rules(settings())),
        RunCountMover(),
        create_missed_runs,
        wake_limit_waiters,
        cancel_batch_jobs,
        warn_if_late,
        collect_outbox_gauges,
        collect_periodic_lateness,
    ]


def start_task(task: Any) -> RelayTask:
    """Return an application's task as a duty; a class is instantiated."""
    duty: RelayTask = task() if isinstance(task, type) else task
    return duty


def main() -> int:
    """Run until SIGTERM or SIGINT, or until `--parent PID` dies; return the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: set_from_signal_handler(stop))
    match sys.argv[1:]:
        case ["--parent", pid]:
            die_with_parent(int(pid))
    try:
        logs.configure_logging()
        run_relay(stop, serves=True)
    except WorkshedError as err:
        logger.critical("%s", err)
        return exit_code(err)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
