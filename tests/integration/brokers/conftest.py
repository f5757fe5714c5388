"""Actors of one test, on the real broker, worked off by dramatiq's own `Worker` in this process."""

import contextlib
from datetime import timedelta

import dramatiq
import pytest
from dramatiq import Worker

from brokers.envelope import properties
from brokers.publisher import Ticket


@pytest.fixture
def actor(broker):
    """Declare an actor for this test: `@actor(queue_name="default", …)`."""
    before = dict(broker.actors), dict(broker.queues), dict(broker.declared)
    yield lambda **options: dramatiq.actor(broker=broker, **options)
    for kept, now in zip(before, (broker.actors, broker.queues, broker.declared), strict=True):
        now.clear()
        now.update(kept)


@pytest.fixture
def working(broker):
    """`with working("default"):` a worker runs in this process."""

    @contextlib.contextmanager
    def run(*queues, threads=2):
        worker = Worker(broker, queues=set(queues), worker_threads=threads, worker_timeout=100)
        worker.start()
        try:
            yield worker
        finally:
            worker.stop(timeout=10_000)
            broker.middleware = [m for m in broker.middleware if "_Worker" not in type(m).__name__]
            broker._hooks.clear()

    return run


@pytest.fixture
def rows(connect):
    """`rows("SELECT …")`: what the database holds now."""
    conn = connect(autocommit=True)
    return lambda query, *values: conn.execute(query, values).fetchall()


@pytest.fixture
def patience(broker):
    """`patience(0.5)`: senders wait for RabbitMQ for so many seconds."""

    def wait(seconds):
        broker._sender.timeout = timedelta(seconds=seconds)

    return wait


@pytest.fixture
def not_storing(broker):
    """`WORKSHED_STORE_WHEN_UNREACHABLE=false`."""
    broker._sender.storing = False


@pytest.fixture
def away(broker):
    """`away(url)`: senders look for RabbitMQ there; by default nobody answers."""

    def look_at(url="amqp://ada:secret@127.0.0.1:9/shop"):
        broker.urls[:] = [url]

    return look_at


@pytest.fixture
def blocked(servers, broker, greet, eventually):
    """`with blocked():` RabbitMQ is short of memory, and has told this process."""

    @contextlib.contextmanager
    def alarm():
        servers.rabbitmq.ctl("set_vm_memory_high_watermark", "0.00001")
        try:
            broker._publisher.publish(ticket(greet.message(0)), 0.2)  # only publishers are told
            eventually(lambda: broker._publisher._link.blocked)
            yield
        finally:
            servers.rabbitmq.ctl("set_vm_memory_high_watermark", "0.6")
        eventually(lambda: not broker._publisher._link.blocked)

    return alarm


def ticket(*messages, **headers):
    """What the publisher takes, of messages."""
    made = Ticket()
    for message in messages:
        made.add(message.queue_name, message.encode(), properties(message, **headers))
    return made
