"""Requeue messages from RabbitMQ's `<queue>.dead`, which could not even be stored as dead jobs."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from pika.exceptions import AMQPChannelError, NackError, UnroutableError

from workshed.console.rabbitmq.amqp import keep_open
from workshed.transport.amqp.arguments import EXCHANGE
from workshed.transport.errors import PublishRefusedError
from workshed.transport.messages.signing import SIGNATURE_HEADER, Signing

DEATH_HEADERS = ("x-death", "x-first-death-", "x-last-death-")
BLOCKED_TIMEOUT = timedelta(seconds=30)
"""How long to wait while RabbitMQ blocks publishers; then the message in hand is requeued."""


def requeue_messages(
    urls: list[str],
    name: str,
    limit: int,
    moved: Callable[[], None],
    signing: Signing | None = None,
    prefix: str = "",
) -> int:
    """Move up to `limit` messages to their queue, the oldest first; return how many.

    Each is published and confirmed before it is acked: a crash in between duplicates a message,
    and never loses one. The header `possible_duplicate` makes its consumer check for duplicates.
    Only messages with a valid signature are signed again, because anyone who may publish may have
    put one there. `prefix`: prefix of the queue names on RabbitMQ. Raises `BrokerUnreachableError`
    or `PublishRefusedError`; RabbitMQ then requeues the message in hand.
    """
    there = f"{prefix}{name}"
    dead = f"{there}.dead"
    with keep_open(urls, "requeue", BLOCKED_TIMEOUT) as connection:
        channel: Any = connection.channel()
        try:
            channel.confirm_delivery()
            for count in range(limit):
                method, properties, body = channel.basic_get(dead)
                if method is None:
                    return count
                headers = mark_possible_duplicate(properties.headers)
                if signing is not None and signing.is_signed_by_us(name, properties.headers, body):
                    headers[SIGNATURE_HEADER] = signing.sign(name, headers, body)
                properties.headers = headers
                channel.basic_publish(EXCHANGE, there, body, properties, mandatory=True)
                channel.basic_ack(method.delivery_tag)
                moved()
        except UnroutableError:
            raise PublishRefusedError(
                f"no queue {there!r} is bound to exchange {EXCHANGE!r}: run `workshed broker setup`"
            ) from None
        except NackError:
            raise PublishRefusedError(f"queue {there!r} refused the message: is it full?") from None
        except AMQPChannelError as err:
            raise PublishRefusedError(f"{dead!r}: {err}") from None
    return limit


def mark_possible_duplicate(headers: dict[str, Any] | None) -> dict[str, Any]:
    """Return headers without RabbitMQ's dead-letter record, and with `possible_duplicate`."""
    kept = {k: v for k, v in (headers or {}).items() if not k.startswith(DEATH_HEADERS)}
    return {**kept, "possible_duplicate": True}
