"""Queues: their states, and how to pause, resume and purge them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from workshed.console.formatting import format_job_count
from workshed.console.operations.environment import (
    check_queues,
    list_queue_names,
    register_queues,
)
from workshed.console.operations.operation import Operation, OperationResult, Preview
from workshed.console.purging import PurgeCounts
from workshed.console.queue_servers.queue_server import QueueServer
from workshed.console.rabbitmq.broker_status import BrokerStatus
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownQueue
from workshed.jobs.dead import dead_jobs as dead
from workshed.queues import Queue
from workshed.value_class import value_class


@value_class
class QueueState:
    """A queue; `None` means unknown: not declared here, or RabbitMQ did not answer.

    Without RabbitMQ, all jobs are rows of the schedule.
    """

    name: str
    kind: str | None
    weight: int | None
    levels: int | None
    ready: int | None
    """Jobs that no worker holds: on RabbitMQ, or due rows."""
    unacked: int | None
    """Jobs that workers hold: running, or waiting in them. RabbitMQ's management API knows it."""
    workers: int | None
    """Processes that consume it."""
    waiting: int
    """Other jobs in the schedule; without RabbitMQ, those that are due later."""
    dead: int
    dead_queue: int | None
    """Messages in RabbitMQ's `<queue>.dead`, which could not even be stored as dead jobs.
    `None` without RabbitMQ, where all are in the dead table."""
    paused_at: datetime | None


@value_class
class QueueCounts:
    """The counts of jobs that are not ready, by queue."""

    waiting: Mapping[str, int]
    dead: Mapping[str, int]


def list_queue_states(
    conn: Connection, server: QueueServer
) -> tuple[list[QueueState], list[WorkshedError]]:
    """Return the queues, the declared ones first, and the errors of RabbitMQ."""
    counted = count_waiting_and_dead(conn, server)
    names = merge_queue_names(conn, counted)
    status = server.fetch_status(conn, names)
    states = merge_queue_states(conn, server.declared_queues, names, counted, status)
    return states, [*status.errors]


def count_waiting_and_dead(conn: Connection, server: QueueServer) -> QueueCounts:
    """Count waiting and dead jobs, by queue."""
    return QueueCounts(server.count_waiting(conn), dead.count_dead_by_queue(conn))


def merge_queue_names(conn: Connection, counted: QueueCounts) -> list[str]:
    """Return the queues that are declared, and those with waiting or dead jobs."""
    others = sorted({*counted.waiting, *counted.dead})
    return list(dict.fromkeys([*list_queue_names(conn), *others]))


def merge_queue_states(
    conn: Connection,
    declared_queues: Mapping[str, Queue],
    names: Sequence[str],
    counted: QueueCounts,
    broker_status: BrokerStatus,
) -> list[QueueState]:
    """Merge what is known of each queue."""
    known = {queue.name: queue for queue in queues.list_queues(conn)}

    def state(name: str) -> QueueState:
        declared, row = declared_queues.get(name), known.get(name)
        depth, lost = broker_status.depths.get(name), broker_status.depths.get(f"{name}.dead")
        return QueueState(
            name=name,
            kind=declared.kind if declared else row.kind if row else None,
            weight=declared.weight if declared else None,
            levels=declared.levels if declared else None,
            ready=depth.ready if depth else None,
            unacked=broker_status.unacked.get(name),
            workers=depth.consumers if depth else None,
            waiting=counted.waiting.get(name, 0),
            dead=counted.dead.get(name, 0),
            dead_queue=lost.ready if lost else None,
            paused_at=row.paused_at if row else None,
        )

    return [state(name) for name in names]


def _find_queues(conn: Connection, names: Sequence[str]) -> dict[str, KnownQueue]:
    """Return queues by name; raises `NotFoundError`."""
    wanted = register_queues(conn, names)
    known = {queue.name: queue for queue in queues.list_queues(conn)}
    return {name: known[name] for name in wanted}


def _pause_queue(conn: Connection, queue: KnownQueue) -> str:
    queues.pause_queue(conn, queue.name)
    return "was paused" if queue.paused_at else "paused"


def _resume_queue(conn: Connection, queue: KnownQueue) -> str:
    queues.resume_queue(conn, queue.name)
    return "resumed" if queue.paused_at else "was not paused"


PAUSE = Operation(
    "queues.pause",
    "queue",
    _find_queues,
    _pause_queue,
    changed={"paused": "Within 2 s, workers start no more of its jobs; running jobs finish."},
    unchanged=("was paused",),
)
RESUME = Operation(
    "queues.resume",
    "queue",
    _find_queues,
    _resume_queue,
    changed={"resumed": "Takes effect within 2 s."},
    unchanged=("was not paused",),
)


@value_class
class QueuePurge:
    """A purge of a queue, which ends each job in a transaction of its own."""

    queue: str
    ready: int
    count: int
    """Jobs to discard: all that are ready, unless fewer are allowed at once."""
    stored: int
    """Jobs that wait elsewhere, and stay."""
    stored_place: str
    """Where they wait."""

    @property
    def preview(self) -> Preview:
        """What it would do."""
        notes = "Each is recorded as cancelled, its key is released, its batch goes on."
        return Preview(self.count, f"{notes} This cannot be undone.{self._rest}")

    @property
    def confirm_text(self) -> str:
        """What the user confirms: `Discard 3 jobs of emails`."""
        return f"Discard {format_job_count(self.count)} of {self.queue}"

    def result(self, counts: PurgeCounts, trouble: str = "") -> OperationResult:
        """Return what it did so far; `trouble` says why it has ended early."""
        said = f"{format_job_count(counts.ended)} of {self.queue} discarded."
        if counts.unreadable:
            said += f" {counts.unreadable} could not be read and are dead."
        return OperationResult(f"{said}{self._rest}{trouble}", counts.count, {"queue": self.queue})

    @property
    def _rest(self) -> str:
        left = self.ready - self.count
        more = f" Still ready there: {format_job_count(left)}; purge again." if left else ""
        return more + (
            f" Left {self.stored_place}: {format_job_count(self.stored)}." if self.stored else ""
        )


def plan_purge(
    conn: Connection, server: QueueServer, name: str, most: int | None = None
) -> QueuePurge:
    """Plan a purge of at most `most` jobs; raises `NotFoundError`."""
    check_queues(conn, [name])
    ready = server.count_ready(conn, name)
    count = ready if most is None else min(ready, most)
    stored = server.count_waiting(conn).get(name, 0)
    return QueuePurge(name, ready, count, stored, server.stored_place)
