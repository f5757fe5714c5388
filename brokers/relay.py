"""Publish what is due: the one way from the schedule to RabbitMQ."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from datetime import timedelta
from uuid import UUID, uuid4

from brokers.build import broker
from brokers.envelope import decode, properties
from brokers.errors import BrokerError, EnvelopeError, TopologyError, exit_code
from brokers.publisher import Publisher, Ticket
from brokers.rabbitmq import RabbitMQ
from brokers.relay_fork import die_with_parent, set_outside
from middleware.lifeline import say_up
from workshed import db, logs, migrate
from workshed.db import PASSING_ERRORS, Connection
from workshed.errors import DatabaseUnreachableError, WorkshedError
from workshed.jobs import dead, relays, windows
from workshed.jobs.windows import Taken

logger = logging.getLogger(__name__)

WINDOW = 500
WINDOWS_IN_FLIGHT = 2
LOOK_S = 0.02
BEAT_S = 2.0
CONFIRM_S = 30.0
PUT_BACK = timedelta(seconds=5)
PAUSE_S = 1.0
FORGOTTEN_AFTER = timedelta(hours=1)
# After a bulk insert and before ANALYZE, PostgreSQL would scan a million rows instead of an index.
PLANS = "SET enable_seqscan = off; SET plan_cache_mode = force_custom_plan"


class Relay:
    """Takes windows of due rows, publishes them, and deletes what RabbitMQ confirmed.

    No transaction is open while a window is published. Any number of relays may run; one is
    enough. One that is killed between the confirm and the delete leaves rows that another sends
    again: those copies are absorbed by the fence.
    """

    def __init__(self, publisher: Publisher, stop: threading.Event) -> None:
        """Open nothing."""
        self.id = uuid4()
        self._publisher = publisher
        self._stop = stop
        self._in_flight: deque[tuple[list[Taken], Ticket]] = deque()

    def run(self) -> None:
        """Work until `stop` is set, then finish the windows in flight."""
        while not self._stop.is_set():
            try:
                with db.connect() as conn:
                    migrate.require(conn, "jobs")
                    conn.execute(PLANS)
                    self._work(conn)
            except (*PASSING_ERRORS, DatabaseUnreachableError) as err:
                # What was in flight stays marked; it comes again once this relay counts as dead.
                self._in_flight.clear()
                self.id = uuid4()
                logger.warning("relay: %s; trying again", str(err).strip())
                self._stop.wait(PAUSE_S)

    def _work(self, conn: Connection) -> None:
        with Heartbeat(self.id):
            say_up(os.getpid())
            while not self._stop.is_set():
                if not self._turn(conn):
                    self._stop.wait(self._pause(conn))
            while self._in_flight:
                self._settle(conn)
        relays.leave(conn, self.id)

    def _turn(self, conn: Connection) -> bool:
        """Send one window off, and settle the oldest one; False when nothing was due."""
        # While RabbitMQ takes nothing, taking rows would only hide them from a relay that can send.
        ready = self._publisher.ready(PAUSE_S)
        rows = windows.take(conn, self.id, WINDOW) if ready else []
        if rows:
            self._in_flight.append((rows, self._publish(conn, rows)))
        if self._in_flight and (not rows or len(self._in_flight) >= WINDOWS_IN_FLIGHT):
            self._settle(conn)
        return bool(rows or self._in_flight)

    def _publish(self, conn: Connection, rows: list[Taken]) -> Ticket:
        ticket = Ticket()
        for row in list(rows):
            body = row.body.encode()
            try:
                message = decode(body, row.queue)
            except EnvelopeError as err:
                bury(conn, self.id, row, err)
                rows.remove(row)
                continue
            again = {"again": True} if row.again else {}
            ticket.add(row.queue, body, properties(message, via="schedule", **again))
        self._publisher.submit(ticket)
        return ticket

    def _settle(self, conn: Connection) -> None:
        """Wait for the oldest window; delete what was confirmed, put back what was not."""
        rows, ticket = self._in_flight.popleft()
        self._publisher.wait(ticket, time.monotonic() + CONFIRM_S)
        confirmed: list[Taken] = []
        refused: list[Taken] = []
        unknown: list[bool] = []
        for row, publication in zip(rows, ticket.publications, strict=True):
            if publication.error is None:
                confirmed.append(row)
            else:
                refused.append(row)
                unknown.append(publication.unknown)
        windows.sent(conn, self.id, confirmed)
        if refused:
            error = next(p.error for p in ticket.publications if p.error is not None)
            logger.error("%d of %d not sent, again in 5 s: %s", len(refused), len(rows), error)
            windows.put_back(conn, self.id, refused, PUT_BACK, unknown=unknown)

    def _pause(self, conn: Connection) -> float:
        """Return how long nothing can be due, at most one look; in seconds."""
        wait = windows.next_due(conn)
        left = LOOK_S if wait is None else wait.total_seconds()
        return left if 0 < left < LOOK_S else LOOK_S  # what is due and was not taken can wait


class Heartbeat:
    """Says that a relay lives, from a thread of its own: one that waits for RabbitMQ lives too."""

    def __init__(self, relay: UUID) -> None:
        """Beat once before any row is taken, or another relay would take it as orphaned."""
        self._relay = relay
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        """Start beating."""
        with db.connect() as conn:
            self._beat(conn)
            relays.forget(conn, FORGOTTEN_AFTER)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Stop beating."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                with db.connect() as conn:
                    while not self._over.is_set():
                        self._beat(conn)
                        self._over.wait(BEAT_S)
            except Exception as err:  # noqa: BLE001 -- without it, others take what is in flight
                logger.warning("heartbeat: %s", str(err).strip())

    def _beat(self, conn: Connection) -> None:
        relays.beat(conn, self._relay, socket.gethostname(), os.getpid())


def bury(conn: Connection, relay: UUID, row: Taken, error: EnvelopeError) -> None:
    """Move a row that no consumer could read to the dead, so that it blocks nothing."""
    with conn.transaction():
        dead.bury(
            conn,
            message_id=row.message_id,
            hop=row.hop,
            attempt=0,
            queue=row.queue,
            actor=None,
            body=row.body.encode(),
            reason=str(error),
            error=error,
        )
        windows.sent(conn, relay, [row])


def run(stop: threading.Event) -> None:
    """Run a relay of this process's broker until `stop` is set."""
    found = broker()
    if not isinstance(found, RabbitMQ):
        raise WorkshedError("stub:// has no relay; set WORKSHED_BROKER_URL to a RabbitMQ")
    publisher = Publisher(found.urls, "relay")
    try:
        found.ensure_queues(set(found.declared))
    except (BrokerError, TopologyError) as err:
        logger.warning("%s", err)  # a worker may make them; until then their rows stay
    logger.info("relay is at work")
    Relay(publisher, stop).run()
    publisher.close()
    logger.info("relay has ended")


def main() -> int:
    """Run until SIGTERM or SIGINT, or until `--parent PID` dies; return the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: set_outside(stop))
    match sys.argv[1:]:
        case ["--parent", pid]:
            die_with_parent(int(pid))
    try:
        logs.configure()
        run(stop)
    except WorkshedError as err:
        logger.critical("%s", err)
        return exit_code(err)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
