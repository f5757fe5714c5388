"""Actors to test the kit with."""

import dramatiq
import pytest

from brokers import broker


@pytest.fixture
def actor():
    """Declare an actor for this test: `@actor(queue_name="default", …)`."""
    before = dict(broker.actors), dict(broker.queues)
    yield lambda **options: dramatiq.actor(broker=broker, **options)
    for kept, now in zip(before, (broker.actors, broker.queues), strict=True):
        now.clear()
        now.update(kept)


@pytest.fixture
def greet(actor):
    """An actor that remembers whom it greeted."""
    greeted = []

    def greet(user_id, greeting="hello"):
        greeted.append((user_id, greeting))
        return f"{greeting} {user_id}"

    declared = actor(actor_name="greet")(greet)
    declared.greeted = greeted
    return declared
