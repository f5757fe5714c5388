"""End what waits in a queue of RabbitMQ, each job as a worker ends one that was cancelled.

RabbitMQ's own purge knows nothing of what a job holds: its key would stay taken, its batch would
never end, and what a classic queue has lost is sent again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from workshed.console.rabbitmq.amqp import keep_open
from workshed.db import Connection
from workshed.jobs.dead import dead_jobs
from workshed.middleware import DuplicateDelivery, Job, Outcome
from workshed.transport.consuming.quarantine import fallback_message_id
from workshed.transport.errors import EnvelopeError, PublishRefusedError
from workshed.transport.messages.signing import Headers, verify_and_decode
from workshed.transport.rabbitmq import RabbitMQBroker

BLOCKED = timedelta(seconds=30)
"""As nothing is published, RabbitMQ blocks only who has published before."""
PURGED = Outcome("cancelled", "purged by an operator")


@dataclass(slots=True)
class Purged:
    """How many of a queue have ended."""

    ended: int = 0
    unreadable: int = 0
    """Of which nobody knows what they are: they are dead, with their bodies."""

    @property
    def count(self) -> int:
        """All that are no longer in the queue."""
        return self.ended + self.unreadable


def purge_queue(
    broker: RabbitMQBroker,
    conn: Connection,
    name: str,
    limit: int,
    done: Purged,
    step: Callable[[], None] = lambda: None,
) -> None:
    """End up to `limit` messages, in the order in which workers would get them.

    They are counted in `done`, which tells how far it came also where it is broken off. Each has
    its outcome before it is acked: who is killed in between leaves a copy, which the worker that
    gets it drops. Raises `BrokerUnreachableError` or `PublishRefusedError`.
    """
    with keep_open(broker.urls, "purge", BLOCKED) as connection:
        channel: Any = connection.channel()
        try:
            for _ in range(limit):
                method, properties, body = channel.basic_get(broker.prefix + name)
                if method is None:
                    break
                if end_message(broker, conn, name, properties.headers, body):
                    done.ended += 1
                else:
                    done.unreadable += 1
                channel.basic_ack(method.delivery_tag)
                step()
        except ChannelClosedByBroker as err:
            raise PublishRefusedError(f"queue {name!r}: {err.reply_text}") from None


def end_message(
    broker: RabbitMQBroker, conn: Connection, queue: str, headers: Headers, body: bytes
) -> bool:
    """Write the outcome of one message; False where it cannot be read, and is dead."""
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
            broker.settle(conn, Job(message, may_be_duplicate=True), PURGED)
    except DuplicateDelivery:
        pass  # it has an outcome already, and this was a copy
    return True
