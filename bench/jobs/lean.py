"""Workshed jobs with only the middleware that retries need."""

import dramatiq

from bench.jobs import PREFETCH
from bench.jobs.recording import record_start
from workshed import Queue
from workshed.middleware import (
    DatabasePool,
    Deduplication,
    LogContext,
    ParentWatch,
    Periodic,
    Retries,
    TimeLimit,
)
from workshed.settings import settings
from workshed.transport.messages.envelope import StrictJson
from workshed.transport.rabbitmq import RabbitMQBroker

config = settings()
broker = RabbitMQBroker(
    [config.broker_url.get_secret_value()],
    {"bench0": Queue("bench0", prefetch=PREFETCH)},
    [
        DatabasePool(),
        LogContext(),
        Deduplication(config.deduplication_retention),
        TimeLimit(),
        Periodic(),
        Retries(config.max_retries, config.record_visibility_grace),
        ParentWatch(),
    ],
    config,
)
dramatiq.set_encoder(StrictJson())
dramatiq.set_broker(broker)


@dramatiq.actor(broker=broker, queue_name="bench0", time_limit=60_000)
def noop(sent_ns: int) -> None:
    """Do nothing but record the start."""
    record_start(sent_ns)
