"""Drop all messages of a queue, as test suites written for dramatiq do between tests.

Each job ends as a cancelled one, because a purge by RabbitMQ would leave its unique key taken and
its batch incomplete.
"""

import contextlib
from typing import Any, Protocol

import dramatiq
from pika.exceptions import ChannelClosedByBroker

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.dead import dead_jobs
from workshed.jobs.dead.dead_jobs import DeadFilter
from workshed.middleware import DuplicateDelivery, Job, Outcome
from workshed.queues import Queue
from workshed.transport.amqp import topology
from workshed.transport.errors import EnvelopeError
from workshed.transport.messages.envelope import decode_message
from workshed.transport.messages.signing import Signing, verify_and_decode

TIMEOUT_S = 600.0
FLUSHED_OUTCOME = Outcome("cancelled", "flushed")


class FlushableBroker(Protocol):
    """A broker whose queues can be flushed."""

    signing: Signing | None

    def write_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Let each middleware write its part of an outcome."""


def flush_queue(broker: FlushableBroker, urls: list[str], queue: Queue) -> None:
    """Cancel all jobs of a queue; raises `BrokerUnreachableError`."""
    flush_rows(broker, queue)
    with topology.open_connection(urls, TIMEOUT_S) as connection:
        channel: Any = connection.channel()
        with contextlib.suppress(ChannelClosedByBroker):  # there is no such queue
            while (found := channel.basic_get(queue.rabbitmq_name))[0] is not None:
                method, properties, body = found
                with contextlib.suppress(EnvelopeError):
                    _cancel_job(
                        broker,
                        verify_and_decode(broker.signing, queue.name, properties.headers, body),
                    )
                channel.basic_ack(method.delivery_tag)
        with contextlib.suppress(ChannelClosedByBroker):
            connection.channel().queue_purge(queue.dead_rabbitmq_name)
    discard_dead(queue.name)


def discard_dead(queue: str) -> None:
    """Discard the dead jobs of a queue."""
    with db.transaction() as conn:
        for message_id in dead_jobs.list_ids(conn, DeadFilter(queue=queue)):
            dead_jobs.discard_job(conn, message_id, FLUSHED_OUTCOME.reason)


def flush_rows(broker: FlushableBroker, queue: Queue) -> None:
    """Cancel the jobs of a queue that PostgreSQL has."""
    query = "DELETE FROM workshed.schedule WHERE queue = %s RETURNING body"
    with db.transaction() as conn:
        bodies = [body for (body,) in conn.execute(query, (queue.name,))]
        for body in bodies:
            with contextlib.suppress(EnvelopeError):
                message = decode_message(body.encode(), queue.name)
                with contextlib.suppress(DuplicateDelivery), conn.transaction():
                    broker.write_outcome(conn, Job(message, may_be_duplicate=True), FLUSHED_OUTCOME)


def _cancel_job(broker: FlushableBroker, message: dramatiq.Message[Any]) -> None:
    with contextlib.suppress(DuplicateDelivery), db.transaction() as conn:
        broker.write_outcome(conn, Job(message, may_be_duplicate=True), FLUSHED_OUTCOME)
