"""An intruder who can read and publish on RabbitMQ, but has no signing key."""

import json
import random
from collections import deque
from dataclasses import dataclass
from typing import Any

from dramatiq import Message
from pika import BasicProperties

from workshed.transport.amqp.arguments import EXCHANGE
from workshed.transport.messages.signing import SIGNATURE_HEADER, Signing

FORGED = 10_000_000
"""The numbers of made-up jobs start here."""
ONCE = {"parts": "once", "letters": "mailed"}
"""For each queue, an actor that takes effect once."""
OTHER = {"parts": "letters", "letters": "parts"}
THEIRS = Signing(["a-key-that-this-test-never-knew"], required=True)
REMEMBERED = 200
NAME = "intruder"


@dataclass(frozen=True, slots=True)
class Published:
    """A message as published on RabbitMQ."""

    queue: str
    headers: dict[str, Any]
    body: bytes


def unsigned(one: Published, number: int) -> Published:
    return Published(one.queue, {}, made_up(one.queue, number))


def of_another_key(one: Published, number: int) -> Published:
    body = made_up(one.queue, number)
    return Published(one.queue, {SIGNATURE_HEADER: THEIRS.sign(one.queue, {}, body)}, body)


def with_another_s_signature(one: Published, number: int) -> Published:
    return Published(one.queue, one.headers, made_up(one.queue, number))


def with_other_arguments(one: Published, number: int) -> Published:
    body = json.dumps({**json.loads(one.body), "args": [number]}).encode()
    return Published(one.queue, one.headers, body)


def of_another_generation(one: Published, number: int) -> Published:
    fields = json.loads(one.body)
    body = json.dumps({**fields, "options": {**fields["options"], "generation": number}}).encode()
    return Published(one.queue, one.headers, body)


def stripped(one: Published, number: int) -> Published:
    return Published(one.queue, {}, one.body)


def made_new(one: Published, number: int) -> Published:
    return Published(one.queue, {**one.headers, "published_ms": 2**41 + number}, one.body)


def moved(one: Published, number: int) -> Published:
    return Published(OTHER[one.queue], one.headers, one.body)


def moved_and_renamed(one: Published, number: int) -> Published:
    body = json.dumps({**json.loads(one.body), "queue_name": OTHER[one.queue]}).encode()
    return Published(OTHER[one.queue], one.headers, body)


FORGERIES = (
    *(unsigned, of_another_key, with_another_s_signature, with_other_arguments),
    *(of_another_generation, stripped, made_new, moved, moved_and_renamed),
)


def made_up(queue: str, number: int) -> bytes:
    """Return the body of a job that was never sent."""
    return Message(queue, ONCE[queue], (number,), {}, {}).encode()


class Intruder:
    """Reads published messages, and publishes forgeries and copies of them."""

    def __init__(self, channel: Any) -> None:
        """Start reading all messages, by its own queue."""
        self.seen: deque[Published] = deque(maxlen=REMEMBERED)
        self.forged: list[bytes] = []
        """The published bodies without a valid signature."""
        self.replayed = 0
        self._channel = channel
        tap = channel.queue_declare("", exclusive=True).method.queue
        for queue in ONCE:
            channel.queue_bind(tap, EXCHANGE, queue)
        channel.basic_consume(tap, self._on_message, auto_ack=True)

    def look(self) -> None:
        """Store the messages that have arrived since."""
        self._channel.connection.process_data_events(0)

    def forge(self, number: int) -> None:
        """Publish a message without a valid signature."""
        made = random.choice(FORGERIES)(random.choice(self.seen), FORGED + number)  # noqa: S311 -- a die
        self.forged.append(made.body)
        self._publish(made)

    def replay(self) -> None:
        """Publish a copy of a seen message whose actor takes effect once."""
        once = [one for one in self.seen if json.loads(one.body)["actor_name"] != "plain"]
        if once:
            self.replayed += 1
            self._publish(random.choice(once))  # noqa: S311 -- a die

    def _publish(self, one: Published) -> None:
        properties = BasicProperties(delivery_mode=2, headers=one.headers, app_id=NAME)
        self._channel.basic_publish(EXCHANGE, one.queue, one.body, properties)

    def _on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if properties.app_id != NAME:  # its own messages come back to it
            self.seen.append(Published(method.routing_key, properties.headers, body))
