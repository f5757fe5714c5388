"""The arguments with which a queue is declared, by type and by version of RabbitMQ."""

import pytest

from tests.library.queues import QUEUES
from workshed.queues import Queue
from workshed.transport.amqp.arguments import (
    ALWAYS,
    ARGUMENT_VERSIONS,
    NEWEST_VERSION,
    OLDEST_VERSION,
    accepted_arguments,
    all_arguments,
    is_version,
    parse_version,
    queue_arguments,
)

SUPPORTED = [(4, 0), (4, 1), (4, 2), (4, 3)]
EMAILS = next(queue for queue in QUEUES if queue.name == "emails")


@pytest.mark.parametrize("version", [*SUPPORTED, (5, 0)])
@pytest.mark.parametrize(
    "queue", [Queue("a", kind=k, levels=n) for k in ARGUMENT_VERSIONS for n in (0, 9)]
)
def test_only_arguments_that_the_server_accepts_for_the_type_are_declared(queue, version):
    declared = queue_arguments(queue, version)

    refused = {
        name for name, taken in ARGUMENT_VERSIONS[queue.kind].items() if not taken.includes(version)
    }
    assert declared.keys() & refused == set()
    assert declared.keys() - {"x-queue-type"} == all_arguments(queue).keys() - refused


def test_every_option_of_a_queue_is_in_the_table_of_its_type():
    for kind in ARGUMENT_VERSIONS:
        assert (
            all_arguments(Queue("a", kind=kind, levels=3)).keys() <= ARGUMENT_VERSIONS[kind].keys()
        )


def test_a_classic_queue_has_a_consumer_timeout_only_before_4_3():
    """RabbitMQ 4.3.2 and later refuse it: with it, no worker of `emails` could boot there."""
    has = {
        version: "x-consumer-timeout" in queue_arguments(EMAILS, version) for version in SUPPORTED
    }

    assert has == {(4, 0): True, (4, 1): True, (4, 2): True, (4, 3): False}


def test_a_quorum_queue_has_a_consumer_timeout_and_no_delivery_limit_everywhere():
    for version in SUPPORTED:
        declared = queue_arguments(Queue("default"), version)

        assert declared["x-consumer-timeout"] == 3_600_000
        assert declared["x-delivery-limit"] == -1
        assert declared["x-dead-letter-strategy"] == "at-least-once"
        assert declared["x-dead-letter-routing-key"] == "default.dead"


def test_a_quorum_queue_never_has_levels_and_a_classic_one_always():
    """RabbitMQ 4.0 to 4.3 refuse `x-max-priority` on a quorum queue: 406 on every send."""
    for version in SUPPORTED:
        assert "x-max-priority" not in queue_arguments(Queue("a", levels=9), version)
        assert queue_arguments(EMAILS, version)["x-max-priority"] == 4


def test_a_queue_of_an_older_server_counts_as_declared():
    """It keeps its arguments when the server is upgraded."""
    [now, before] = accepted_arguments(EMAILS, (4, 3))

    assert before == now | {"x-consumer-timeout": 3_600_000}
    assert accepted_arguments(EMAILS, OLDEST_VERSION) == [before]
    assert len(accepted_arguments(Queue("default"), NEWEST_VERSION)) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4.0.5", (4, 0)),
        ("4.3.0-rc.1", (4, 3)),
        ("5.12", (5, 12)),
        ("", OLDEST_VERSION),
        ("x", OLDEST_VERSION),
    ],
)
def test_a_version_is_read_as_the_server_writes_it(text, found):
    assert parse_version(text) == found
    assert is_version(text) == text[:1].isdigit()


def test_the_table_ends_with_the_newest_supported_version():
    """When a later version changes something, add it to the table and raise `NEWEST`."""
    ends = {taken.before for kind in ARGUMENT_VERSIONS.values() for taken in kind.values()} - {
        None,
        (0, 0),
    }

    assert max(ends) <= NEWEST_VERSION
    assert ALWAYS.includes((99, 0))
