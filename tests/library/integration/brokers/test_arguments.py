"""The queue arguments that this RabbitMQ accepts, and the errors where it refuses one."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest
from pika.exceptions import ConnectionClosedByBroker

from tests.conftest import in_memory
from workshed import Queue
from workshed.devserver import DevServers
from workshed.settings import Settings
from workshed.transport.amqp import arguments as facts
from workshed.transport.amqp import replies, topology
from workshed.transport.amqp.arguments import (
    ALWAYS,
    ARGUMENT_VERSIONS,
    OLDEST_VERSION,
    queue_arguments,
)
from workshed.transport.errors import BrokerUnreachableError, TopologyError

VALUES = {
    "x-consumer-timeout": 3_600_000,
    "x-dead-letter-exchange": "workshed.jobs",
    "x-dead-letter-routing-key": "a.dead",
    "x-dead-letter-strategy": "at-least-once",
    "x-delivery-limit": -1,
    "x-max-priority": 4,
    "x-overflow": "reject-publish",
}
NEEDED = {"x-dead-letter-routing-key": "x-dead-letter-exchange"}
IGNORED = ("4.3.0", "4.3.1")
"""These releases accept a consumer timeout for a classic queue, and ignore it."""


@pytest.fixture
def connection(vhost):
    found = pika.BlockingConnection(pika.URLParameters(vhost))
    yield found
    found.close()


@pytest.fixture
def release(rabbitmq):
    """The full version of the server."""
    return rabbitmq.ask("GET", "overview")["rabbitmq_version"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ARGUMENT_VERSIONS for name in ARGUMENT_VERSIONS[kind]],
)
def test_the_server_accepts_exactly_what_the_table_says(connection, rabbitmq, release, kind, name):
    wanted = {"x-queue-type": kind, name: VALUES[name]}
    if name in NEEDED:
        wanted[NEEDED[name]] = VALUES[NEEDED[name]]

    try:
        connection.channel().queue_declare("a", durable=True, arguments=wanted)
        answer = "taken"
    except pika.exceptions.ChannelClosedByBroker as err:
        answer = str(err.reply_text)

    if ARGUMENT_VERSIONS[kind][name].includes(rabbitmq.version()) or release in IGNORED:
        assert answer == "taken"
    else:
        assert f"invalid arg '{name}'" in answer


@pytest.mark.parametrize("levels", [0, 4])
@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_a_queue_of_each_type_can_be_made_and_used(
    broker, actor, rabbitmq, kind, levels, eventually
):
    broker.add_queue(Queue("a", kind=kind, levels=levels))

    actor(queue_name="a", actor_name="job")(lambda: None).send()

    eventually(lambda: rabbitmq.depth("a") == 1)
    assert rabbitmq.queues()["a"]["arguments"] == queue_arguments(
        broker.declared_queues["a"], rabbitmq.version()
    )


@pytest.fixture
def refused(monkeypatch):
    """Workshed assumes that quorum queues have levels in this RabbitMQ, which is never so."""
    quorum = {**ARGUMENT_VERSIONS["quorum"], "x-max-priority": ALWAYS}
    monkeypatch.setattr(facts, "ARGUMENT_VERSIONS", {**ARGUMENT_VERSIONS, "quorum": quorum})


@pytest.mark.fresh_vhost
@pytest.mark.usefixtures("refused")
def test_an_argument_the_server_does_not_know_is_not_reported_as_different(vhost, rabbitmq):
    """The queue does not exist: to let it run empty and delete it would not help."""
    with pytest.raises(TopologyError) as error:
        topology.declare_queues([vhost], [Queue("ranked", levels=9)])

    said = str(error.value)
    assert "queue 'ranked' was not created: RabbitMQ " in said
    assert "invalid arg 'x-max-priority'" in said
    assert "supports RabbitMQ 4.0 to 4.3: run one of these, or a release of Workshed" in said
    assert "exists" not in said
    assert "delete it" not in said
    assert "ranked" not in rabbitmq.queues()


@pytest.mark.usefixtures("refused")
def test_the_queues_next_to_a_refused_one_are_made(broker, rabbitmq):
    """Otherwise queues that sort after it would be missing, and all their senders refused."""
    broker.add_queue(Queue("a", levels=9))
    broker.add_queue(Queue("b", levels=9))

    with pytest.raises(TopologyError, match=r"(?s)'a' was not created.*\n.*'b' was not created"):
        broker.ensure_queues({"a", "b", "default", "low"})

    assert {"default", "default.dead", "low", "low.dead"} <= rabbitmq.queues().keys()


def test_one_connection_makes_all_queues_that_the_server_accepts(vhost, connection, rabbitmq):
    """A relay makes queues over one connection, and must not stop at the first that differs."""
    connection.channel().queue_declare("a", durable=True, arguments={"x-queue-type": "classic"})

    with pytest.raises(TopologyError, match=r"'a' exists with other arguments.*let it run empty"):
        topology.declare_queues([vhost], [Queue("a"), Queue("b")])

    assert {"b", "b.dead"} <= rabbitmq.queues().keys()


@pytest.fixture
def ticking():
    """A RabbitMQ of its own, whose quorum queues tick before they are ready, and so end on 4.0.

    Not the session's: its supervisor of dead-lettering workers gives up after many such ends.
    """
    config = {"quorum_tick_interval": "1"}
    own = DevServers(fresh=True, kinds=["rabbitmq"], given=Settings(), broker_config=config)
    with in_memory(own) as started:
        yield started.rabbitmq


def test_queues_are_made_even_if_rabbitmq_fails_at_the_first_try(ticking):
    """With eight workers that start at once, seven fail at the first try."""
    pairs = [[Queue(f"tasks_{number}_{each}") for each in range(2)] for number in range(8)]

    with ThreadPoolExecutor(len(pairs)) as pool:
        list(pool.map(lambda queues: topology.declare_queues([ticking.url], queues, 60.0), pairs))

    made = set(ticking.ctl("list_queues", "name", "--no-table-headers").split())
    names = {queue.name for pair in pairs for queue in pair}
    assert made == names | {f"{name}.dead" for name in names}


@pytest.mark.parametrize("then", ["INTERNAL_ERROR", "it did not answer in time"])
def test_an_internal_error_that_stays_is_reported_in_time(monkeypatch, then):
    """Also if the last try has no time left to connect."""
    said = iter(["INTERNAL_ERROR"])

    def fail(*_):
        text = next(said, then)
        code = replies.INTERNAL_ERROR if text == "INTERNAL_ERROR" else 320
        error = BrokerUnreachableError(text)
        error.__context__ = ConnectionClosedByBroker(code, text)
        raise error

    monkeypatch.setattr(topology, "_declare_all", fail)

    with pytest.raises(BrokerUnreachableError, match="INTERNAL_ERROR"):
        topology.declare_queues([], [Queue("tasks")], 0.5)


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_a_queue_from_an_older_server_is_kept(
    connection, rabbitmq, vhost, monkeypatch, caplog, kind
):
    """Otherwise each start after an upgrade would end with "exists with other arguments"."""
    queue = Queue("a", kind=kind, levels=4)
    made = queue_arguments(
        queue, OLDEST_VERSION if rabbitmq.version() < (4, 3) else rabbitmq.version()
    )
    connection.channel().queue_declare("a", durable=True, arguments=made)
    monkeypatch.setattr(topology, "server_version", lambda _: (4, 3))

    with caplog.at_level(logging.WARNING):
        topology.declare_queues([vhost], [queue])

    assert rabbitmq.queues()["a"]["arguments"] == made
    assert caplog.records == []


def test_a_message_without_a_priority_has_the_lowest(actor, broker, rabbitmq, connection):
    """From RabbitMQ 4.3 on a quorum queue would treat it as a 4, ahead of 1 to 3."""
    broker.add_queue(Queue("ranked", levels=9))
    job = actor(queue_name="ranked", actor_name="job")(lambda number: None)
    job.send(0)
    for priority in (3, 9, 5):
        job.send_with_options(args=(priority,), broker_priority=priority)

    channel = connection.channel()
    found = [channel.basic_get("ranked", auto_ack=True) for _ in range(4)]

    priorities = [properties.priority for _, properties, _ in found]
    two_levels, strict = [9, 5, 0, 3], [9, 5, 3, 0]
    assert priorities == (two_levels if rabbitmq.version() < (4, 3) else strict)
    assert [json.loads(body)["args"] for *_, body in found] == [[one] for one in priorities]
