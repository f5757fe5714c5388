"""Actors of one test, on the real broker, worked off by dramatiq's own `Worker` in this process."""

import contextlib

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
def publish(broker):
    """Put a message into RabbitMQ as another program might: with these headers, or any body."""

    def publish(message, body=None, queue=None, **headers):
        ticket = Ticket()
        queue = queue or message.queue_name
        broker.ensure_queues({queue})
        ticket.add(queue, body or message.encode(), properties(message, **headers))
        broker._publisher.publish(ticket, 5)
        assert ticket.publications[0].error is None

    return publish


@pytest.fixture
def failing(connect):
    """`with failing("jobs.settled"):` every write to a table fails as in a deadlock."""
    conn = connect(autocommit=True)
    conn.execute("""
        CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'told to fail' USING ERRCODE = '40001'; END $$
    """)

    @contextlib.contextmanager
    def failing(table):
        conn.execute(f"""
            CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION public.fail()
        """)
        yield
        conn.execute(f"DROP TRIGGER fail ON {table}")

    return failing
