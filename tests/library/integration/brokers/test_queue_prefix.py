"""`WORKSHED_QUEUE_PREFIX`: all requests to RabbitMQ name our queues, and no others."""

import dramatiq
import pytest

from workshed.jobs.control import queues
from workshed.jobs.outbox import schedule
from workshed.settings import settings
from workshed.transport.amqp import topology
from workshed.transport.amqp.accounts import build_accounts
from workshed.transport.errors import PublishRefusedError, TopologyError

pytestmark = pytest.mark.fresh_vhost

PREFIX = "shop."
OTHERS = ("default", "default.dead")
"""Queues of another program with these names, with a message in each."""


@pytest.fixture(autouse=True)
def _prefix(monkeypatch):
    monkeypatch.setenv("WORKSHED_QUEUE_PREFIX", PREFIX)
    settings.cache_clear()


@pytest.fixture
def untouched(broker, rabbitmq, eventually):
    """`untouched()`: whether the queues of the other program are unchanged."""
    with topology.open_connection(broker.urls, 60) as connection:
        channel = connection.channel()
        for name in OTHERS:
            channel.queue_declare(name, durable=True)
            channel.basic_publish("", name, b"of another program")
    are_there = lambda: [rabbitmq.depth(name) for name in OTHERS] == [1, 1]  # noqa: E731
    eventually(are_there)
    return are_there


@pytest.fixture
def greet(actor):
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


@pytest.fixture
def dead_letter(broker):
    """`dead_letter()`: put a message into our dead queue."""

    def lay():
        with topology.open_connection(broker.urls, 60) as connection:
            connection.channel().basic_publish("", f"{PREFIX}default.dead", b"x")

    return lay


def test_counts_are_those_of_our_queues(greet, broker, dead_letter, untouched, eventually):
    for number in range(3):
        greet.send(number)
    dead_letter()

    eventually(lambda: broker.get_queue_message_counts("default") == (3, 0, 1))


def test_flush_drops_the_messages_in_our_queues(
    greet, broker, dead_letter, untouched, rabbitmq, eventually
):
    greet.send(1)
    dead_letter()
    ours = [f"{PREFIX}{name}" for name in OTHERS]
    eventually(lambda: [rabbitmq.depth(name) for name in ours] == [1, 1])

    broker.flush("default")

    eventually(lambda: [rabbitmq.depth(name) for name in ours] == [0, 0])
    assert untouched()


def test_an_account_that_may_not_declare_looks_for_our_queues(
    greet, broker, limited, rabbitmq, eventually
):
    [sender] = [
        one
        for one in build_accounts(broker.declared_queues, {}, "a", PREFIX)
        if one.name == "a-sender"
    ]
    limited(sender.write)

    greet.send(1)

    eventually(lambda: rabbitmq.depth(f"{PREFIX}default") == 1)
    with pytest.raises(TopologyError, match=r"'shop\.low': does not exist.*broker setup"):
        broker.ensure_queues({"low"})
    rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/{PREFIX}default")
    with pytest.raises(PublishRefusedError, match=r"no queue 'shop\.default'"):
        greet.send(2)


def test_a_relay_binds_our_queue_that_it_does_not_declare(
    broker, connect, relaying, rabbitmq, eventually
):
    """Otherwise a job for a queue that only its worker declares would reach no queue."""
    message = dramatiq.Message("crawling", "crawl", (), {}, {})
    row = schedule.OutboxRow(
        message.message_id, 0, "crawling", "crawl", message.encode().decode(), "transactional"
    )
    conn = connect(autocommit=True)
    queues.declare_queues(conn, {"crawling": "quorum"})
    schedule.insert_row(conn, row)
    with topology.open_connection(broker.urls, 60) as connection:
        for name in ("crawling", f"{PREFIX}crawling"):
            connection.channel().queue_declare(name, durable=True)

    with relaying():
        eventually(lambda: rabbitmq.depth(f"{PREFIX}crawling") == 1)

    assert rabbitmq.depth("crawling") == 0
