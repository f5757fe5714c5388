"""Jobs of Workshed with no more middleware than retries need."""

import dramatiq

from bench.jobs import PREFETCH
from bench.marks import mark
from workshed import Queue
from workshed.middleware import (
    DatabasePool,
    Deadline,
    Fence,
    Lifeline,
    LogContext,
    Periodic,
    Retries,
)
from workshed.settings import settings
from workshed.transport.messages.envelope import StrictJson
from workshed.transport.rabbitmq import RabbitMQ

config = settings()
broker = RabbitMQ(
    [config.broker_url.get_secret_value()],
    {"bench0": Queue("bench0", prefetch=PREFETCH)},
    [
        DatabasePool(),
        LogContext(),
        Fence(config.deduplication_retention),
        Deadline(),
        Periodic(),
        Retries(config.max_retries, config.record_visibility_grace),
        Lifeline(),
    ],
    config,
)
dramatiq.set_encoder(StrictJson())
dramatiq.set_broker(broker)


@dramatiq.actor(broker=broker, queue_name="bench0", time_limit=60_000)
def noop(sent_ns: int) -> None:
    """Do nothing but note it."""
    mark(sent_ns)
