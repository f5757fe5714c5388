"""Actors that were declared before Workshed's broker existed."""

import importlib

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from workshed.settings import Settings
from workshed.transport import build as build_module
from workshed.transport.build import build_broker
from workshed.transport.errors import StrayActorsError, exit_code
from workshed.transport.strays import refuse_stray_actors

STOCK = importlib.import_module("dramatiq.broker")


@pytest.fixture
def other(monkeypatch):
    """A global broker that is not Workshed's."""
    broker = StubBroker()
    monkeypatch.setattr(STOCK, "global_broker", broker)
    yield broker
    broker.close()


@pytest.fixture
def ours():
    return build_broker(Settings(broker_url="stub://"))


def test_stray_actors_are_named_with_the_import_to_move(other, ours):
    for name in "fedcba":
        dramatiq.actor(actor_name=name)(print)

    with pytest.raises(StrayActorsError) as refused:
        refuse_stray_actors(ours)

    assert str(refused.value).startswith(
        "declared on a StubBroker, not on Workshed's broker: a, b, c, d, e, …. Import it before "
        "the first actor: from workshed import broker."
    )
    assert refused.value.actors == list("abcdef")


def test_no_broker_of_ours_is_made_if_there_are_stray_actors(other):
    """It would become the global one, and their jobs go to a server that nothing configures."""
    dramatiq.actor(actor_name="lost")(print)

    with pytest.raises(StrayActorsError, match="not on Workshed's broker: lost"):
        build_module.get_broker.__wrapped__()
    assert STOCK.global_broker is other


@pytest.mark.parametrize("name", ["dramatiq", "periodiq"])
def test_other_programs_end_with_the_documented_code(other, monkeypatch, caplog, name):
    dramatiq.actor(actor_name="lost")(print)
    monkeypatch.setattr("sys.argv", [f"/usr/bin/{name}"])

    with pytest.raises(SystemExit) as ended:
        build_module.get_broker.__wrapped__()

    assert ended.value.code == exit_code(StrayActorsError(other))
    assert "not on Workshed's broker: lost" in caplog.text


def test_a_worker_does_not_boot_if_there_are_stray_actors(monkeypatch):
    """They were declared on another broker that became the global one after ours."""
    broker, other = build_broker(Settings()), StubBroker()
    dramatiq.actor(broker=other, actor_name="lost")(print)
    monkeypatch.setattr(STOCK, "global_broker", other)

    with pytest.raises(StrayActorsError, match="not on Workshed's broker: lost"):
        broker.check_worker(dramatiq.Worker(broker))

    other.close()


def test_another_broker_without_actors_is_accepted(other, ours):
    refuse_stray_actors(ours)


def test_actors_with_an_explicit_broker_are_accepted(monkeypatch, ours):
    monkeypatch.setattr(STOCK, "global_broker", ours)
    other = StubBroker()
    dramatiq.actor(broker=other, actor_name="theirs")(print)

    refuse_stray_actors(ours)

    other.close()


def test_without_a_global_broker_nothing_is_refused(monkeypatch, ours):
    monkeypatch.setattr(STOCK, "global_broker", None)

    refuse_stray_actors(ours)
