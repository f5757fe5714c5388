"""RabbitMQ and pika without a framework: the upper bound."""

import os
import sys
from typing import Any, Literal

import orjson
import pika
from pika.adapters.select_connection import SelectConnection

from bench.jobs.recording import record_start

QUEUE = "raw0"
WINDOW = 500
PREFETCH = 128
ARGUMENTS = {"x-queue-type": "quorum"}


def build_body(sent_ns: int) -> bytes:
    """Make a body like that of a Workshed job."""
    return orjson.dumps(
        {
            "queue_name": QUEUE,
            "actor_name": "noop",
            "args": [sent_ns],
            "kwargs": {},
            "options": {},
            "message_id": "5e6fa0dc-0a9e-4b5c-9d5d-6f4f4c8d4a10",
            "message_timestamp": sent_ns // 1_000_000,
        }
    )


class RawPublisher:
    """pika with publisher confirms: one at a time, or with 500 in flight."""

    def __init__(self, confirming: Literal["one", "window"]) -> None:
        """Connect."""
        self._parameters = pika.URLParameters(os.environ["BENCH_STOCK_URL"])
        self._properties = pika.BasicProperties(delivery_mode=2)
        if confirming == "one":
            self._channel: Any = pika.BlockingConnection(self._parameters).channel()
            self._channel.queue_declare(QUEUE, durable=True, arguments=ARGUMENTS)
            self._channel.confirm_delivery()
        else:
            self._channel = None

    def send(self, _job: str, sent_ns: int) -> None:
        """Publish one message and wait for its confirm."""
        if self._channel is None:
            self.send_many(_job, 1)
        else:
            self._channel.basic_publish(
                "", QUEUE, build_body(sent_ns), self._properties, mandatory=True
            )

    def send_many(self, _job: str, count: int) -> None:
        """Publish many, with at most 500 unconfirmed."""
        WindowedPublisher(self._parameters, self._properties, count).run()


class WindowedPublisher:
    """A `SelectConnection` that publishes as fast as confirms come in."""

    def __init__(self, parameters: Any, properties: Any, count: int) -> None:
        """Connect when it runs."""
        self._properties = properties
        self._left = count
        self._sent = 0
        self._unconfirmed: dict[int, None] = {}
        self._connection: Any = SelectConnection(parameters, on_open_callback=self._on_open)
        self._channel: Any = None

    def run(self) -> None:
        """Return when all are confirmed."""
        self._connection.ioloop.start()

    def _on_open(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._on_channel_open)

    def _on_channel_open(self, channel: Any) -> None:
        self._channel = channel
        channel.queue_declare(
            QUEUE, durable=True, arguments=ARGUMENTS, callback=self._on_queue_declared
        )

    def _on_queue_declared(self, _: Any) -> None:
        self._channel.confirm_delivery(self._on_confirm)
        self._publish_window()

    def _publish_window(self) -> None:
        while self._left and len(self._unconfirmed) < WINDOW:
            self._channel.basic_publish("", QUEUE, build_body(1), self._properties, mandatory=True)
            self._sent += 1
            self._unconfirmed[self._sent] = None
            self._left -= 1

    def _on_confirm(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        if frame.method.multiple:
            while self._unconfirmed and next(iter(self._unconfirmed)) <= tag:
                del self._unconfirmed[next(iter(self._unconfirmed))]
        else:
            self._unconfirmed.pop(tag, None)
        if not self._unconfirmed and not self._left:
            self._connection.close()
            self._connection.ioloop.stop()
        else:
            self._publish_window()


def consume(count: int) -> None:
    """Consume, record each message and acknowledge 64 at a time, until the process is stopped."""
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["BENCH_STOCK_URL"]))
    channel: Any = connection.channel()
    channel.queue_declare(QUEUE, durable=True, arguments=ARGUMENTS)
    channel.basic_qos(prefetch_count=PREFETCH)
    seen = 0

    def on_message(ch: Any, method: Any, _properties: Any, text: bytes) -> None:
        nonlocal seen
        seen += 1
        record_start(orjson.loads(text)["args"][0])
        if seen % (PREFETCH // 2) == 0 or seen == count:
            ch.basic_ack(method.delivery_tag, multiple=True)

    channel.basic_consume(QUEUE, on_message)
    channel.start_consuming()


if __name__ == "__main__":
    consume(int(sys.argv[1]))
