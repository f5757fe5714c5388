"""Actors of one test on the real broker, run by dramatiq's own `Worker` in this process."""

import contextlib

import dramatiq
import pytest
from dramatiq import Worker


@contextlib.contextmanager
def declaring(broker):
    """Yield a decorator that declares an actor; after the block the broker forgets those actors."""
    known = (
        broker.actors,
        broker.queues,
        broker.declared_queues,
        broker._signatures,
        broker._added_queues,
    )
    names = len(broker.actor_defaults.declared)
    before = [one.copy() for one in known]
    yield lambda **options: dramatiq.actor(broker=broker, **options)
    for kept, now in zip(before, known, strict=True):
        now.clear()
        now.update(kept)
    del broker.actor_defaults.declared[names:]


@pytest.fixture
def actor(broker):
    """Declare an actor for this test: `@actor(queue_name="default", …)`."""
    with declaring(broker) as decorator:
        yield decorator


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
