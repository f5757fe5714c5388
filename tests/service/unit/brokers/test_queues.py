"""The service's queues."""

from brokers.app import QUEUES


def test_shipped_weights_are_those_of_the_guide():
    weights = {queue.name: queue.weight for queue in QUEUES}

    assert weights["critical"] == 3
    assert weights["default"] == weights["imports"] == 2
    assert weights["emails"] == weights["low"] == 1
