"""Move the jobs of RabbitMQ's queues to PostgreSQL, for an installation that gives RabbitMQ up."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dramatiq
from pika.exceptions import ChannelClosedByBroker

from workshed.console.rabbitmq.amqp import keep_open
from workshed.console.rabbitmq.queue_depths import fetch_depth
from workshed.database.postgres import Connection
from workshed.jobs.batches import batches
from workshed.jobs.dead import dead_jobs
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.outbox import returns
from workshed.jobs.outbox.schedule import OutboxRow
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
        taken.append((method.delivery_tag, DrainedMessage(properties.headers, body)))
    return taken


def store_jobs(
    broker: RabbitMQBroker, conn: Connection, queue: str, messages: Sequence[DrainedMessage]
) -> int:
    """Store messages as rows, the unreadable ones as dead jobs; return how many are rows."""
    found = list(_decode(broker, conn, queue, messages))
    rows = {
        (message.message_id, generation): OutboxRow(
            message.message_id,
            generation,
            queue,
            message.actor_name,
            body.decode(),
            "broker_down",
            possible_duplicate=True,
        )
        for message, generation, body in found
    }
    returns.return_jobs(conn, list(rows.values()))
    return len(found)


def dead_letter_jobs(
    broker: RabbitMQBroker, conn: Connection, queue: str, messages: Sequence[DrainedMessage]
) -> int:
    """Store messages of a dead queue as dead jobs; return 0, as none is a row."""
    for message, generation, body in _decode(broker, conn, queue, messages):
        message_id = message.message_id
        if completed_generations.is_completed(conn, message_id, generation):
            continue  # a copy has its outcome
        dead_jobs.add_dead_job(
            conn,
            message_id=message_id,
            generation=generation,
            attempt=int(message.options.get("attempt", 1)),
            queue=queue,
            actor=message.actor_name,
            body=body,
            reason=DEAD_REASON,
        )
        batches.end_batch_job(conn, message_id, "dead")
    return 0


def _decode(
    broker: RabbitMQBroker, conn: Connection, queue: str, messages: Sequence[DrainedMessage]
) -> Iterator[tuple[dramatiq.Message[Any], int, bytes]]:
    """Return each message, its generation and body; store the unreadable ones as dead jobs."""
    for each in messages:
        try:
            message = verify_and_decode(broker.signing, queue, each.headers, each.body)
        except EnvelopeError as err:
            store_unreadable(conn, queue, each.body, err)
            continue
        yield message, int(message.options.get("generation", 0)), each.body
