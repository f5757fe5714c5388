"""Make again the queues that RabbitMQ has lost, with its data or by somebody's hand."""

import logging
from collections.abc import Collection, Mapping

from brokers import topology
from brokers.errors import BrokerError, TopologyError
from brokers.queues import Queue
from workshed.db import Connection
from workshed.jobs import queues as known

logger = logging.getLogger(__name__)


def used(conn: Connection, declared: Mapping[str, Queue]) -> list[Queue]:
    """Return those declared queues that actors of any worker are on.

    A relay loads no actors; made as declared, queues that nothing uses would fill RabbitMQ.
    """
    names = {actor.queue for actor in known.find_actors(conn)}
    return [queue for name, queue in declared.items() if name in names]


def remake(urls: list[str], queues: Collection[Queue]) -> None:
    """Make the queues where the account may; say so where it may not, and raise nothing.

    What this process has made before counts for nothing: RabbitMQ may have lost it since.
    """
    try:
        if queues:
            topology.ensure(urls, queues)
    except (BrokerError, TopologyError) as err:
        logger.warning("%s", err)


def rebind(urls: list[str], names: Collection[str]) -> None:
    """Let the exchange lead again to queues of other programs, which are there; raise nothing.

    What is not there is made by a worker on it, whose consumer ends with it; no consumer sees that
    a binding is gone.
    """
    try:
        topology.bind(urls, names)
    except (BrokerError, TopologyError) as err:
        logger.warning("%s", err)
