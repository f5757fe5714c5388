"""Make again the queues that RabbitMQ has lost, with its data or by somebody's hand."""

import logging
from collections.abc import Collection

from brokers import topology
from brokers.errors import BrokerError, TopologyError
from brokers.queues import Queue

logger = logging.getLogger(__name__)


def remake(urls: list[str], queues: Collection[Queue]) -> None:
    """Make the queues where the account may; say so where it may not, and raise nothing.

    What this process has made before counts for nothing: RabbitMQ may have lost it since.
    """
    try:
        if queues:
            topology.ensure(urls, queues)
    except (BrokerError, TopologyError) as err:
        logger.warning("%s", err)
