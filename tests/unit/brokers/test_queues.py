"""Declared queues."""

from types import SimpleNamespace

import pytest

from brokers import topology
from brokers.queues import QUEUES, Queue, weighted
from brokers.topology import arguments, version
from workshed.errors import SettingsError


def test_shipped_weights_are_those_of_the_guide():
    weights = {queue.name: queue.weight for queue in QUEUES}

    assert weights["critical"] == 3
    assert weights["default"] == weights["imports"] == 2
    assert weights["emails"] == weights["low"] == 1


def test_weights_come_from_the_environment():
    found = weighted(QUEUES, "critical=5, low=2")

    assert (found["critical"].weight, found["low"].weight, found["default"].weight) == (5, 2, 2)


@pytest.mark.parametrize("text", ["nope=1", "critical", "critical=", "critical=-1", "critical=x"])
def test_weights_that_make_no_sense_are_refused(text):
    with pytest.raises(SettingsError, match="NAME=WEIGHT"):
        weighted(QUEUES, text)


@pytest.mark.parametrize(
    "options",
    [{"name": "1st"}, {"name": "a.dead"}, {"name": "a", "weight": 0}, {"name": "a", "levels": 32}],
)
def test_a_queue_that_could_not_be_made_is_refused(options):
    with pytest.raises(SettingsError):
        Queue(**options)


def test_a_quorum_queue_counts_no_returns_and_confirms_its_dead_letters():
    found = topology.arguments(Queue("default"))

    assert found["x-queue-type"] == "quorum"
    assert found["x-delivery-limit"] == -1
    assert found["x-dead-letter-strategy"] == "at-least-once"
    assert found["x-dead-letter-routing-key"] == "default.dead"


def test_emails_is_a_true_priority_queue():
    emails = next(queue for queue in QUEUES if queue.name == "emails")

    assert topology.arguments(emails)["x-max-priority"] == 4


def test_levels_of_a_quorum_queue_are_chosen_by_the_servers_version():
    """RabbitMQ 4.0 refuses a quorum queue with `x-max-priority`: 406 on every send."""
    queue = Queue("a", levels=9)

    before = [arguments(queue, server) for server in ((4, 0), (4, 2))]
    after = [arguments(queue, server) for server in ((4, 3), (5, 0))]

    assert not any("x-max-priority" in found for found in before)
    assert [found["x-max-priority"] for found in after] == [9, 9]


@pytest.mark.parametrize(
    ("words", "found"),
    [(b"4.0.5", (4, 0)), ("4.3.0-rc.1", (4, 3)), (b"5.12", (5, 12)), (b"", (4, 0)), (b"x", (4, 0))],
)
def test_the_version_is_read_from_the_connection(words, found):
    impl = SimpleNamespace(server_properties={"version": words})

    assert version(SimpleNamespace(_impl=impl)) == found
