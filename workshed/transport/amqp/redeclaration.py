"""Recreate queues that RabbitMQ has lost, or that an operator deleted."""

import logging
from collections.abc import Collection, Mapping

from workshed.database.postgres import Connection
from workshed.jobs.control import queues as known
from workshed.queues import Queue
from workshed.transport.amqp import topology
from workshed.transport.errors import BrokerError, TopologyError

logger = logging.getLogger(__name__)


def list_used_queues(conn: Connection, declared: Mapping[str, Queue]) -> list[Queue]:
    """Return the declared queues that have an actor of any worker.

    A relay loads no actors, so it asks PostgreSQL. Without this, it would create queues on RabbitMQ
    that nothing uses.
    """
    names = {actor.queue for actor in known.list_actors(conn)}
    return [queue for name, queue in declared.items() if name in names]


def redeclare_lost(urls: list[str], queues: Collection[Queue]) -> None:
    """Create missing queues; log a warning, and raise nothing, if that fails.

    It always asks RabbitMQ, which may have lost a queue that this process has created.
    """
    try:
        if queues:
            topology.declare_queues(urls, queues)
    except (BrokerError, TopologyError) as err:
        logger.warning("%s", err)


def rebind_lost(urls: list[str], names: Collection[str]) -> None:
    """Bind existing queues of other programs to the exchange again; raise nothing.

    A worker recreates its own queue, because its consumer ends with the queue. No consumer notices
    that a binding is gone.
    """
    try:
        topology.rebind_queues(urls, names)
    except (BrokerError, TopologyError) as err:
        logger.warning("%s", err)
