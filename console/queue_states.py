"""What is known of each queue: its declaration, RabbitMQ's counts, PostgreSQL's."""

from dataclasses import dataclass
from datetime import datetime

from brokers.rabbitmq import RabbitMQ
from console import waiting
from console.depths import Depth, depths
from console.management import Management
from console.program import queue_names
from workshed.db import Connection
from workshed.errors import WorkshedError
from workshed.jobs import dead, queues


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue; `None` is what could not be asked, or no program here declares."""

    name: str
    kind: str | None
    weight: int | None
    levels: int | None
    ready: int | None
    unacked: int | None
    """With workers; only the management API knows."""
    workers: int | None
    """Processes that consume it."""
    waiting: int
    """In the schedule."""
    dead: int
    dead_queue: int | None
    """In RabbitMQ's `<queue>.dead`: what could not even be stored as dead."""
    paused_at: datetime | None


def states(
    conn: Connection, broker: RabbitMQ, api: Management | None
) -> tuple[list[QueueState], list[WorkshedError]]:
    """Return the queues, the declared ones first, and what could not be asked."""
    waits, died = waiting.counts(conn), dead.by_queue(conn)
    known = {queue.name: queue for queue in queues.find(conn)}
    names = list(dict.fromkeys([*queue_names(conn), *sorted({*waits, *died})]))
    trouble: list[WorkshedError] = []
    found: dict[str, Depth] = {}
    unacked: dict[str, int] = {}
    try:
        found = depths(broker.urls, [*names, *(f"{name}.dead" for name in names)])
    except WorkshedError as err:
        trouble.append(err)
    try:
        unacked = held(api) if api is not None else {}
    except WorkshedError as err:
        trouble.append(err)

    def state(name: str) -> QueueState:
        declared, row = broker.declared.get(name), known.get(name)
        depth, lost = found.get(name), found.get(f"{name}.dead")
        return QueueState(
            name=name,
            kind=declared.kind if declared else row.kind if row else None,
            weight=declared.weight if declared else None,
            levels=declared.levels if declared else None,
            ready=depth.ready if depth else None,
            unacked=unacked.get(name),
            workers=depth.consumers if depth else None,
            waiting=waits.get(name, 0),
            dead=died.get(name, 0),
            dead_queue=lost.ready if lost else None,
            paused_at=row.paused_at if row else None,
        )

    return [state(name) for name in names], trouble


def held(api: Management) -> dict[str, int]:
    """Return how many messages of each queue are with a worker."""
    return {name: one.get("messages_unacknowledged", 0) for name, one in api.queues().items()}
