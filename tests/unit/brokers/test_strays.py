"""Actors that were declared before Workshed's broker was there."""

import importlib

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from brokers.build import build
from brokers.errors import StrayActorsError
from brokers.strays import refuse_strays
from workshed.settings import Settings

STOCK = importlib.import_module("dramatiq.broker")


@pytest.fixture
def other(monkeypatch):
    """The global broker, which is none of ours."""
    broker = StubBroker()
    monkeypatch.setattr(STOCK, "global_broker", broker)
    yield broker
    broker.close()


@pytest.fixture
def ours():
    return build(Settings(broker_url="stub://"))


def test_they_are_named_with_the_import_to_move(other, ours):
    for name in "fedcba":
        dramatiq.actor(actor_name=name)(print)

    with pytest.raises(StrayActorsError) as refused:
        refuse_strays(ours)

    assert str(refused.value).startswith(
        "declared on a StubBroker, not on Workshed's broker: a, b, c, d, e, …. Import it before "
        "the first actor: from brokers import broker."
    )
    assert refused.value.actors == list("abcdef")


def test_a_broker_without_actors_is_no_trouble(other, ours):
    refuse_strays(ours)


def test_actors_of_a_broker_that_is_named_are_meant_for_it(monkeypatch, ours):
    monkeypatch.setattr(STOCK, "global_broker", ours)
    other = StubBroker()
    dramatiq.actor(broker=other, actor_name="theirs")(print)

    refuse_strays(ours)

    other.close()


def test_where_none_is_global_there_is_nothing_to_refuse(monkeypatch, ours):
    monkeypatch.setattr(STOCK, "global_broker", None)

    refuse_strays(ours)
