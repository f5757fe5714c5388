"""Declared queues."""

import pytest

from brokers import topology
from brokers.queues import QUEUES, Queue, weighted
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
    [{"name": "1st"}, {"name": "a.dead"}, {"name": "a", "weight": 0}, {"name": "a", "levels": 3}],
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
