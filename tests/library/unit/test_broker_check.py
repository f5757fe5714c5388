"""How `workshed broker check` compares a queue with its declaration, without a server."""

import pytest

from tests.library.queues import QUEUES
from workshed.console.rabbitmq.drift import describe_arguments
from workshed.transport.amqp.arguments import queue_arguments

EMAILS = next(queue for queue in QUEUES if queue.name == "emails")


def found(version):
    """The management API's description of a queue that this version created."""
    return {"durable": True, "arguments": queue_arguments(EMAILS, version)}


@pytest.mark.parametrize("created_by", [(4, 0), (4, 2), (4, 3)])
def test_a_queue_that_an_older_server_made_is_as_declared(created_by):
    """It keeps its consumer timeout after an upgrade to 4.3, where new queues have none."""
    assert list(describe_arguments(EMAILS, found(created_by), (4, 3))) == []


def test_a_queue_with_another_timeout_is_not_as_declared():
    other = found((4, 0))
    other["arguments"]["x-consumer-timeout"] = 7

    assert list(describe_arguments(EMAILS, other, (4, 3))) == [
        "x-consumer-timeout is 7 and declared as absent"
    ]


def test_a_queue_that_a_newer_server_made_is_not_as_declared_on_an_older_one():
    assert list(describe_arguments(EMAILS, found((4, 3)), (4, 0))) == [
        "x-consumer-timeout is absent and declared as 3600000"
    ]
