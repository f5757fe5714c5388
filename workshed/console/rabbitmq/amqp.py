"""Short-lived connections to RabbitMQ, with timeouts on everything."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import unquote, urlsplit

import pika
from pika.exceptions import AMQPConnectionError

from workshed.transport.amqp import topology
from workshed.transport.amqp import url as address
from workshed.transport.errors import BrokerUnreachableError

CONNECT_TIMEOUT = timedelta(seconds=5)
"""Timeout for all servers together."""


def connect_amqp(
    urls: list[str], name: str, blocked: timedelta, within: timedelta = CONNECT_TIMEOUT
) -> pika.BlockingConnection:
    """Connect to the first server that answers; raises `BrokerUnreachableError`.

    `blocked`: how long RabbitMQ may block publishers before the connection is closed.
    """
    trouble = "no server named"
    for url in urls:
        wanted = address.connection_parameters(url, name)
        wanted.socket_timeout = wanted.stack_timeout = (within / len(urls)).total_seconds()
        wanted.blocked_connection_timeout = blocked.total_seconds()
        try:
            return pika.BlockingConnection(wanted)
        except topology.CONNECT_ERRORS as err:
            trouble = address.describe_error(err)
    raise BrokerUnreachableError(address.unreachable_message(urls, trouble))


@contextmanager
def keep_open(urls: list[str], name: str, blocked: timedelta) -> Generator[pika.BlockingConnection]:
    """Keep a connection open until the block ends; raises `BrokerUnreachableError`."""
    connection = connect_amqp(urls, name, blocked)
    try:
        yield connection
    except AMQPConnectionError as err:
        raise BrokerUnreachableError(
            address.unreachable_message(urls, address.describe_error(err))
        ) from None
    finally:
        if connection.is_open:
            connection.close()


def url_vhost(url: str) -> str:
    """Return the virtual host of a URL."""
    return unquote(urlsplit(url).path[1:]) or "/"


def url_user(url: str) -> str:
    """Return the user of a URL."""
    return unquote(urlsplit(url).username or "guest")
