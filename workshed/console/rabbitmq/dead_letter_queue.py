"""Put back what lies in RabbitMQ's `<queue>.dead`: what could not even be stored as dead."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from pika.exceptions import AMQPChannelError, NackError, UnroutableError

from workshed.console.rabbitmq.amqp import keep_open
from workshed.transport.amqp.arguments import EXCHANGE
from workshed.transport.errors import PublishRefusedError
from workshed.transport.messages.signing import HEADER, Signing

DEATH = ("x-death", "x-first-death-", "x-last-death-")
BLOCKED = timedelta(seconds=30)
"""How long to wait while RabbitMQ takes no messages; then what was taken is given back."""


def put_back(
    urls: list[str],
    name: str,
    limit: int,
    moved: Callable[[], None],
    signing: Signing | None = None,
    prefix: str = "",
) -> int:
    """Move up to `limit` messages to their queue, the first first; return how many.

    Each is taken, published and confirmed, and only then acked: who is killed in between leaves a
    message twice and never loses one. It says `possible_duplicate`, so its consumer checks for
    duplicates. Only what is signed is signed again: anyone who may publish may have put one there.
    `prefix`: before the names of queues on RabbitMQ. Raises `BrokerUnreachableError` or
    `PublishRefusedError`; the message in hand is RabbitMQ's again then.
    """
    there = f"{prefix}{name}"
    dead = f"{there}.dead"
    with keep_open(urls, "requeue", BLOCKED) as connection:
        channel: Any = connection.channel()
        try:
            channel.confirm_delivery()
            for count in range(limit):
                method, properties, body = channel.basic_get(dead)
                if method is None:
                    return count
                headers = mark_possible_duplicate(properties.headers)
                if signing is not None and signing.vouches(name, properties.headers, body):
                    headers[HEADER] = signing.sign(name, headers, body)
                properties.headers = headers
                channel.basic_publish(EXCHANGE, there, body, properties, mandatory=True)
                channel.basic_ack(method.delivery_tag)
                moved()
        except UnroutableError:
            raise PublishRefusedError(
                f"no queue {there!r} behind exchange {EXCHANGE!r}: run `workshed broker setup`"
            ) from None
        except NackError:
            raise PublishRefusedError(f"queue {there!r} refused the message: full?") from None
        except AMQPChannelError as err:
            raise PublishRefusedError(f"{dead!r}: {err}") from None
    return limit


def mark_possible_duplicate(headers: dict[str, Any] | None) -> dict[str, Any]:
    """Drop RabbitMQ's record of its death, and say that a copy may exist."""
    kept = {k: v for k, v in (headers or {}).items() if not k.startswith(DEATH)}
    return {**kept, "possible_duplicate": True}
