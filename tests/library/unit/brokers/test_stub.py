"""`stub://`: for unit tests of code that sends."""

import asyncio
import dataclasses
from datetime import timedelta

import dramatiq
import pytest
from dramatiq.errors import QueueJoinTimeout

from workshed.errors import WorkshedError
from workshed.settings import Settings
from workshed.transport.build import build_broker
from workshed.transport.errors import InvalidArgumentError, PublishRefusedError


@pytest.fixture
def stub():
    return build_broker(Settings(broker_url="stub://"))


@pytest.fixture
def greet(stub):
    return dramatiq.actor(broker=stub, actor_name="greet")(lambda user_id: None)


def test_a_plain_send_is_recorded(stub, greet):
    message = greet.send(7)

    assert stub.sent == [message]


def test_sends_of_every_kind_are_recorded(stub, greet):
    one, two, three = (greet.message(n) for n in range(3))

    assert stub.enqueue_many(message for message in (one, two)) == [one, two]
    assert asyncio.run(stub.send_async(three)) == three

    assert stub.sent == [one, two, three]


def test_many_messages_are_all_checked_before_any_is_recorded(stub, greet):
    with pytest.raises(InvalidArgumentError):
        stub.enqueue_many([greet.message(1), greet.message(float("inf"))])

    assert stub.sent == []


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("message_timestamp", 1_700_000_000_000.5, "message_timestamp must be a whole number"),
        ("message_timestamp", -1, "message_timestamp must be a whole number"),
        ("message_id", 7, "message_id must be a string"),
        ("message_id", "", "message_id must have 1 to 255 bytes"),
        ("message_id", "x" * 256, "message_id must have 1 to 255 bytes"),
    ],
)
def test_a_field_that_no_worker_would_accept_is_named(stub, greet, field, value, said):
    """Libraries build messages of their own; `struct.error` would name no field."""
    message = dataclasses.replace(greet.message(7), **{field: value})

    with pytest.raises(PublishRefusedError, match=f"greet: {said}"):
        stub.enqueue(message)


def test_arguments_that_are_refused_for_rabbitmq_are_refused_here_too(stub, greet):
    with pytest.raises(InvalidArgumentError):
        greet.send(float("inf"))

    assert stub.sent == []


def test_a_delayed_send_says_that_it_needs_postgresql(stub, greet):
    with pytest.raises(WorkshedError, match="needs PostgreSQL"):
        greet.send_with_options(args=(1,), delay=timedelta(minutes=1))
    with pytest.raises(WorkshedError, match="needs PostgreSQL"):
        asyncio.run(stub.send_async(greet.message(1), delay=timedelta(minutes=1)))


def test_nothing_can_be_consumed(stub):
    with pytest.raises(WorkshedError, match="WORKSHED_BROKER_URL"):
        stub.consume("default")


def test_flushing_forgets(stub, greet):
    greet.send(1)
    stub.flush("default")

    assert stub.sent == []


def test_sent_messages_are_counted_and_flushed(stub, greet):
    greet.send(1)
    greet.send(2)

    assert stub.get_queue_message_counts("default") == (2, 0, 0)
    stub.flush("default")

    assert stub.get_queue_message_counts("default") == (0, 0, 0)
    stub.join("default")


def test_a_join_of_messages_that_never_run_does_not_wait_forever(stub, greet):
    greet.send(1)

    with pytest.raises(WorkshedError, match="use the fixture `jobs`"):
        stub.join("default")
    with pytest.raises(QueueJoinTimeout):
        stub.join("default", timeout=1)
