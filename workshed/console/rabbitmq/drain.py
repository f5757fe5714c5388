"""Move the jobs of RabbitMQ's queues to PostgreSQL, for an installation that gives RabbitMQ up."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from workshed.console.rabbitmq.amqp import keep_open
from workshed.console.rabbitmq.queue_depths import fetch_depth
from workshed.database.postgres import Connection
from workshed.jobs.batches import batches
from workshed.jobs.dead import dead_jobs
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.outbox import returns
from workshed.jobs.outbox.schedule import OutboxRow
from workshed.middleware import Job
from workshed.middleware.delivery.deduplication import find_age_problem
from workshed.settings import settings
from workshed.transport.consuming.delivery import read_publish_time
from workshed.transport.consuming.quarantine import store_unreadable
from workshed.transport.errors import EnvelopeError, PublishRefusedError
from workshed.transport.messages.signing import Headers, verify_and_decode
from workshed.transport.publishing.queue_depth import QueueDepth
from workshed.transport.rabbitmq import RabbitMQBroker
from workshed.value_class import value_class

BATCH = 200
"""Messages that are stored in one transaction, and then acknowledged together."""
BLOCKED_TIMEOUT = timedelta(seconds=30)
"""A formality: RabbitMQ blocks only connections that publish, and this one does not."""
DEAD_REASON = "its outcome could not be stored, and it was in RabbitMQ's dead queue"


@value_class
class DrainedMessage:
    """A message in hand."""

    headers: Headers
    body: bytes
    redelivered: bool

    def find_problem(self) -> str | None:
        """Return why it must not run as a row, which any worker takes for one that has not run."""
        headers = self.headers or {}
        published_s = read_publish_time(headers)
        may_be_copy = self.redelivered or headers.get("possible_duplicate") or headers.get("outbox")
        if not may_be_copy or published_s is None:
            return None
        return find_age_problem(published_s, settings().deduplication_retention)


@dataclass(slots=True)
class DrainCounts:
    """What became of a queue."""

    queue: str
    stored: int = 0
    """Jobs that are rows now."""
    dead: int = 0
    """Messages that are dead jobs now: unreadable ones, and those of its dead queue."""
    released: int = 0
    """Rows that were kept until the outcome of their job, and are due now."""
    consumers: int = 0
    """Workers that still consume the queue, so that more messages may come back to it."""
    left: int = 0
    """Messages that have come meanwhile, because relays or senders still use RabbitMQ."""

    @property
    def is_over(self) -> bool:
        """Whether nothing consumes the queue or publishes there any more."""
        return not self.consumers and not self.left


def drain_queue(
    broker: RabbitMQBroker,
    conn: Connection,
    counts: DrainCounts,
    step: Callable[[], None] = lambda: None,
) -> None:
    """Store as many messages of a queue and its dead queue as are ready when this starts.

    They are counted in `counts`, which is right even if this raises. Each is acknowledged once its
    row is committed: a crash in between leaves a copy, which is dropped as a duplicate when it
    runs. Raises `BrokerUnreachableError` or `PublishRefusedError`.
    """
    name = counts.queue
    with keep_open(broker.urls, "drain", BLOCKED_TIMEOUT) as connection:
        channel: Any = connection.channel()
        try:
            for source, store in ((name, store_jobs), (f"{name}.dead", dead_letter_jobs)):
                depth = fetch_depth(connection, broker.prefix + source)
                for taken in _take_batches(channel, broker.prefix + source, depth):
                    with conn.transaction():
                        stored = store(broker, conn, name, [message for _, message in taken])
                    channel.basic_ack(taken[-1][0], multiple=True)
                    counts.stored += stored
                    counts.dead += len(taken) - stored
                    for _ in taken:
                        step()
        except ChannelClosedByBroker as err:
            raise PublishRefusedError(f"queue {name!r}: {err.reply_text}") from None
        if depth := fetch_depth(connection, broker.prefix + name):
            counts.consumers, counts.left = depth.consumers, depth.ready
    if counts.is_over:
        counts.released = returns.release_kept(conn, name)


def _take_batches(
    channel: Any, name: str, depth: QueueDepth | None
) -> Iterator[list[tuple[int, DrainedMessage]]]:
    """Take messages, each with its delivery tag, as many as the queue had; none if it is missing.

    No more than that, because a relay that still runs publishes the stored ones again.
    """
    left = 0 if depth is None else depth.ready
    while taken := _take(channel, name, min(left, BATCH)):
        left -= len(taken)
        yield taken


def _take(channel: Any, name: str, limit: int) -> list[tuple[int, DrainedMessage]]:
    taken: list[tuple[int, DrainedMessage]] = []
    while len(taken) < limit:
        method, properties, body = channel.basic_get(name)
        if method is None:
            break
        taken.append(
            (method.delivery_tag, DrainedMessage(properties.headers, body, method.redelivered))
        )
    return taken


def store_jobs(
    broker: RabbitMQBroker, conn: Connection, queue: str, messages: Sequence[DrainedMessage]
) -> int:
    """Store messages as rows, those that must not run as dead jobs; return how many are rows."""
    rows: dict[tuple[str, int], OutboxRow] = {}
    count = 0
    for each, job in _decode(broker, conn, queue, messages):
        if problem := each.find_problem():
            dead_letter_job(conn, job, each.body, problem)
            continue
        count += 1
        rows[job.run_id] = OutboxRow(
            *job.run_id,
            queue,
            job.actor,
            each.body.decode(),
            "broker_down",
            possible_duplicate=True,
        )
    returns.return_jobs(conn, list(rows.values()))
    return count


def dead_letter_jobs(
    broker: RabbitMQBroker, conn: Connection, queue: str, messages: Sequence[DrainedMessage]
) -> int:
    """Store messages of a dead queue as dead jobs; return 0, as none is a row."""
    for each, job in _decode(broker, conn, queue, messages):
        dead_letter_job(conn, job, each.body, DEAD_REASON)
    return 0


def dead_letter_job(conn: Connection, job: Job, body: bytes, reason: str) -> None:
    """Store a message as a dead job, unless a copy has its outcome."""
    if completed_generations.is_completed(conn, *job.run_id):
        return
    dead_jobs.add_dead_job(
        conn,
        message_id=job.message_id,
        generation=job.generation,
        attempt=job.attempt,
        queue=job.message.queue_name,
        actor=job.actor,
        body=body,
        reason=reason,
    )
    batches.end_batch_job(conn, job.message_id, "dead")


def _decode(
    broker: RabbitMQBroker, conn: Connection, queue: str, messages: Sequence[DrainedMessage]
) -> Iterator[tuple[DrainedMessage, Job]]:
    """Return each message and its job; store the unreadable ones as dead jobs."""
    for each in messages:
        try:
            message = verify_and_decode(broker.signing, queue, each.headers, each.body)
        except EnvelopeError as err:
            store_unreadable(conn, queue, each.body, err)
            continue
        yield each, Job(message, may_be_duplicate=True)
