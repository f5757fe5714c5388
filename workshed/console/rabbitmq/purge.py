"""Purge a queue of RabbitMQ: end each ready job as a worker ends a cancelled one.

RabbitMQ's own purge knows nothing of jobs: unique keys would stay held, batches would never end,
and relays would publish jobs of classic queues again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from workshed.console.rabbitmq.amqp import keep_open
from workshed.database.postgres import Connection
from workshed.jobs.dead import dead_jobs
from workshed.middleware import DuplicateDelivery, Job, Outcome
from workshed.transport.consuming.quarantine import fallback_message_id
from workshed.transport.errors import EnvelopeError, PublishRefusedError
from workshed.transport.messages.signing import Headers, verify_and_decode
from workshed.transport.rabbitmq import RabbitMQBroker

BLOCKED_TIMEOUT = timedelta(seconds=30)
"""A formality: RabbitMQ blocks only connections that publish, and this one does not."""
PURGED = Outcome("cancelled", "purged by an operator")


@dataclass(slots=True)
class PurgeCounts:
    """How many messages of a queue were purged."""

    ended: int = 0
    unreadable: int = 0
    """Messages that could not be read; they are stored as dead jobs, with their bodies."""

    @property
    def count(self) -> int:
        """All messages removed from the queue."""
        return self.ended + self.unreadable


def purge_queue(
    broker: RabbitMQBroker,
    conn: Connection,
    name: str,
    limit: int,
    counts: PurgeCounts,
    step: Callable[[], None] = lambda: None,
) -> None:
    """End up to `limit` messages, in the order in which workers would get them.

    They are counted in `counts`, which is right even if this raises. The outcome of each is stored
    before it is acked: a crash in between leaves a copy, which a worker drops as a duplicate.
    Raises `BrokerUnreachableError` or `PublishRefusedError`.
    """
    with keep_open(broker.urls, "purge", BLOCKED_TIMEOUT) as connection:
        channel: Any = connection.channel()
        try:
            for _ in range(limit):
                method, properties, body = channel.basic_get(broker.prefix + name)
                if method is None:
                    break
                if end_message(broker, conn, name, properties.headers, body):
                    counts.ended += 1
                else:
                    counts.unreadable += 1
                channel.basic_ack(method.delivery_tag)
                step()
        except ChannelClosedByBroker as err:
            raise PublishRefusedError(f"queue {name!r}: {err.reply_text}") from None


def end_message(
    broker: RabbitMQBroker, conn: Connection, queue: str, headers: Headers, body: bytes
) -> bool:
    """Store the outcome of one message; `False` if it cannot be read and is now dead."""
    try:
        message = verify_and_decode(broker.signing, queue, headers, body)
    except EnvelopeError as err:
        dead_jobs.add_dead_job(
            conn,
            message_id=fallback_message_id(body),
            generation=0,
            attempt=0,
            queue=queue,
            actor=None,
            body=body,
            reason=str(err),
            error=err,
        )
        return False
    try:
        with conn.transaction():
            broker.write_outcome(conn, Job(message, may_be_duplicate=True), PURGED)
    except DuplicateDelivery:
        pass  # its outcome is stored already, and this was a copy
    return True
