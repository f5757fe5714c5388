"""Take due rows for the threads of a worker, and delete those of jobs that have ended."""

import itertools
import logging
import threading
import time
from collections import Counter, defaultdict, deque
from datetime import datetime, timedelta
from uuid import UUID

from workshed.database.postgres import Connection, database_now
from workshed.jobs.outbox import worker_claims
from workshed.jobs.outbox.relays import DEAD_AFTER
from workshed.jobs.outbox.worker_claims import QueueRoom, RowClaim, TakenRow
from workshed.metrics import meters
from workshed.threads.connected import ConnectedThread
from workshed.transport.amqp.acks import Settlement
from workshed.transport.consuming.delivery import Delivery, DeliveryChannel
from workshed.transport.consuming.inbox import WatchedLoop
from workshed.transport.consuming.watermarks import QueueWatermarks
from workshed.transport.taking.lease import LeasePeriod
from workshed.transport.taking.pace import TakingPace
from workshed.transport.taking.rejection import dead_letter_rejected
from workshed.transport.taking.table_consumer import TableConsumer
from workshed.transport.taking.wake import WakeListener

logger = logging.getLogger(__name__)

POLL_S = 0.02
IDLE_POLL_S = 0.1
IDLE_AFTER_S = 2.0
GATHER_S = 0.002
"""Pause between two turns, so that one statement serves many jobs."""
SWEEP_S = 1.0
SWEEP_SHARE = 0.05
"""Share of the time that sweeps may take, however many rows they have to scan."""
COMMIT_TIME = timedelta(seconds=1)
"""Rows of a transaction that was open for longer wait for the next sweep."""
RETRY_S = (0.1, 2.0)
END_S = 5.0


class TableInbox:
    """One thread on a connection of its own takes and settles the jobs of all queues.

    Its turns follow each other quickly while jobs end quickly, so that one transaction serves many
    of them. It polls: a notification would cost each sender's commit more than all polls cost.
    """

    def __init__(self) -> None:
        """Take nothing until the first queue is consumed."""
        self.stopping = threading.Event()
        self.watermarks = QueueWatermarks()
        self._paused_queues: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._consumers: dict[str, TableConsumer] = {}
        self._consumed: frozenset[str] = frozenset()
        """Queues whose rows were looked for since the worker booted."""
        self._lease: LeasePeriod | None = None
        self._tags = itertools.count(1)
        self._held: dict[int, tuple[str, RowClaim]] = {}
        """By tag: the queue and the claim of what is not settled; changed by the thread alone."""
        self._held_counts: Counter[str] = Counter()
        self._pending: deque[tuple[int, Settlement, bool]] = deque()
        """Tags that are to be settled, and whether their jobs were started."""
        self._settling: list[tuple[int, Settlement, bool]] = []
        self._turn_waiters: list[threading.Event] = []
        self._pace = TakingPace()
        self._since: defaultdict[str, datetime | None] = defaultdict(lambda: None)
        self._next_sweep_at = 0.0
        self._connected_at = 0.0
        self._busy_at = self._turned_at = 0.0
        self._is_connected = False
        self._thread = ConnectedThread(
            "taker",
            self._turn,
            POLL_S,
            retry_s=RETRY_S,
            report=self._report_outage,
            is_work_left=lambda: self._pending or self._settling or self._turn_waiters,
            on_connect=self._prepare_connection,
        )
        self._listener = WakeListener(self._thread.wake)

    def reset(self) -> None:
        """Prepare for another worker in this process, after the previous one has stopped."""
        if self.stopping.is_set():
            self.stopping = threading.Event()
            self._paused_queues = self._consumed = frozenset()
            self._lease = None
            self._held.clear()  # jobs that still run keep rows that another worker will take
            self._held_counts.clear()

    @property
    def problem(self) -> str | None:
        """Why no jobs can be taken now; `None` if they can."""
        if not self._consumers or self.stopping.is_set() or self._is_connected:
            return None
        return "PostgreSQL does not answer"

    @property
    def loops(self) -> list[WatchedLoop]:
        """None: the thread waits for PostgreSQL, which may be silent for longer than a loop may."""
        return []

    def is_consuming(self, names: set[str]) -> bool:
        """Return whether rows of each of these queues are looked for."""
        return names <= self._consumed

    def is_paused(self, name: str) -> bool:
        """Return whether nothing of a queue must be taken now."""
        return name in self._paused_queues or self.stopping.is_set()

    def pause(self, names: frozenset[str]) -> None:
        """Take nothing of these queues, and all of the others."""
        self._paused_queues = names

    def record_heartbeat(self, worker: UUID, sent_at: float) -> None:
        """Note that this process may take rows as this worker, and keep them."""
        lease = self._lease
        if lease is None or lease.worker != worker or not lease.extend(sent_at):
            self._lease = LeasePeriod(worker, sent_at)

    def consume(self, consumer: TableConsumer) -> None:
        """Take rows of a queue from now on."""
        with self._lock:  # the consumer threads of all queues begin at the same time
            self._consumers = {**self._consumers, consumer.queue.name: consumer}
            self._thread.start()
            self._listener.start()
        self._thread.wake()

    def remove(self, consumer: TableConsumer) -> None:
        """Take no more rows of a queue."""
        with self._lock:
            others = self._consumers.items()
            self._consumers = {name: one for name, one in others if one is not consumer}

    def settle(
        self, _lease: DeliveryChannel, tag: int, verb: Settlement, *, started: bool = False
    ) -> None:
        """Settle a row soon; does nothing if its claim does not hold any more."""
        if verb == "requeue":
            meters.DELIVERIES_REQUEUED.add()
        elif verb == "reject":
            meters.DELIVERIES_DEAD_LETTERED.add()
        self._pending.append((tag, verb, started))
        if len(self._held) - len(self._pending) <= self._pace.low_water:
            self._thread.wake()

    def settle_delivery(self, delivery: Delivery, verb: Settlement) -> None:
        """Settle a delivery soon."""
        self.settle(delivery.channel, delivery.tag, verb, started=delivery.started_at > 0)

    def stop_consuming(self, within_s: float) -> None:
        """Take nothing more; running jobs can still be settled."""
        self.stopping.set()
        self.flush(within_s)

    def flush(self, within_s: float) -> None:
        """Settle now what is to be settled soon, and end a turn that takes rows."""
        if self._thread.is_running:
            turned = threading.Event()
            self._turn_waiters.append(turned)
            self._thread.wake()
            turned.wait(within_s)

    def close(self) -> None:
        """Settle the last rows, and disconnect."""
        self.stopping.set()
        self._listener.close()
        self._thread.stop(END_S)

    def _prepare_connection(self, conn: Connection) -> None:
        worker_claims.reuse_plans(conn)
        lease = self._lease
        if lease is not None:
            held = [claim for _, claim in self._held.values() if claim.worker == lease.worker]
            if count := worker_claims.release_forgotten(conn, lease.worker, held):
                logger.warning("%d jobs were taken without an answer; they are released", count)
        self._connected_at = time.monotonic()
        self._is_connected = True

    def _report_outage(self, error: Exception, pause_s: float) -> None:
        self._is_connected = False
        self._thread.log_error(error, pause_s)

    def _turn(self, conn: Connection) -> float:
        """Settle and take; return the pause before the next turn."""
        time.sleep(max(0.0, self._turned_at + GATHER_S - time.monotonic()))
        began = time.monotonic()
        waiters, self._turn_waiters = self._turn_waiters, []
        settled = self._settle(conn)
        taken = 0
        if not self.stopping.is_set():
            taken = self._take(conn, began)
        for turned in waiters:
            turned.set()
        if settled or taken:
            self._busy_at = began
        self._turned_at = time.monotonic()
        return POLL_S if began - self._busy_at < IDLE_AFTER_S else IDLE_POLL_S

    def _settle(self, conn: Connection) -> int:
        """Delete, release or bury what is to be settled; all of it again after an error."""
        while self._pending:
            self._settling.append(self._pending.popleft())
        if not self._settling:
            return 0
        by_verb: dict[Settlement, list[tuple[RowClaim, bool]]] = defaultdict(list)
        for tag, verb, started in self._settling:
            if tag in self._held:
                by_verb[verb].append((self._held[tag][1], started))
        worker_claims.delete_ended(conn, [claim for claim, _ in by_verb["ack"]])
        for is_started in (False, True):
            released = [claim for claim, started in by_verb["requeue"] if started is is_started]
            worker_claims.release_claimed(conn, released, started=is_started)
        for claim, _ in by_verb["reject"]:
            dead_letter_rejected(conn, claim)
        count = len(self._settling)
        for tag, _, _ in self._settling:
            queue, _ = self._held.pop(tag, (None, None))
            if queue is not None:
                self._held_counts[queue] -= 1
                self._pace.count(queue)
        self._settling.clear()
        return count

    def _take(self, conn: Connection, now: float) -> int:
        """Take as many rows as may wait here; return how many."""
        lease, consumers = self._lease, self._consumers
        if lease is None or not lease.is_open:
            return 0
        is_sweep = now >= self._next_sweep_at
        rooms = [
            QueueRoom(name, room, one.queue.levels, None if is_sweep else self._since[name])
            for name, one in consumers.items()
            if not self.is_paused(name)
            and (room := self._pace.find_room(one, self._held_counts[name], now)) > 0
        ]
        swept_at = self._sweep(conn, rooms, now) if is_sweep else None
        rows = worker_claims.claim_ready(conn, lease.worker, rooms) if rooms else []
        if is_sweep:
            ended = time.monotonic()
            self._next_sweep_at = ended + max(SWEEP_S, (ended - now) / SWEEP_SHARE)
        self._remember_position(rooms, rows, swept_at)
        self._hand_out(rows, lease, consumers)
        self._consumed = frozenset(consumers)
        return len(rows)

    def _sweep(self, conn: Connection, rooms: list[QueueRoom], now: float) -> datetime:
        """Release the rows of dead processes; the claim that follows reads all rows that are due.

        An outage of PostgreSQL silences every process: others get the time to send a heartbeat.
        """
        if now - self._connected_at > DEAD_AFTER.total_seconds():
            worker_claims.release_orphaned(conn)
        worker_claims.lower_priorities(conn, rooms)
        return database_now(conn)

    def _remember_position(
        self, rooms: list[QueueRoom], rows: list[TakenRow], swept_at: datetime | None
    ) -> None:
        """Note from where the next claim reads each queue, to pass no rows that are gone."""
        counts = Counter(row.queue for row in rows)
        for one in rooms:
            if counts[one.queue] == one.room:  # there may be more rows, due no earlier than these
                last = max(row.due_at for row in rows if row.queue == one.queue)
                self._since[one.queue] = None if one.highest_priority else last - COMMIT_TIME
            elif swept_at is not None:
                self._since[one.queue] = swept_at - COMMIT_TIME

    def _hand_out(
        self, rows: list[TakenRow], lease: LeasePeriod, consumers: dict[str, TableConsumer]
    ) -> None:
        came: dict[str, list[tuple[int, TakenRow, RowClaim]]] = defaultdict(list)
        for row in rows:
            claim = RowClaim(lease.worker, row.message_id, row.generation, row.claimed_at)
            tag = next(self._tags)
            self._held[tag] = (row.queue, claim)
            self._held_counts[row.queue] += 1
            came[row.queue].append((tag, row, claim))
        for queue, taken in came.items():
            if self.stopping.is_set():
                for tag, _, _ in taken:
                    self.settle(lease, tag, "requeue")
            else:
                consumers[queue].receive(taken, lease)
