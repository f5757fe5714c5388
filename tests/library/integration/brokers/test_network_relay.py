"""A network that fails around a relay: every row is sent, and the relay resumes by itself."""

import pytest

from tests.faults.relaying import relaying
from workshed import schedule as outbox
from workshed.database import waits
from workshed.settings import settings


@pytest.fixture
def rabbit_wire(proxy, servers):
    """The relay's connection to RabbitMQ."""
    return proxy(servers.broker_url)


@pytest.fixture
def postgres_wire(proxy, servers):
    """The relay's connections to PostgreSQL: its own, and that of its heartbeat."""
    return proxy(servers.database_url)


@pytest.fixture
def store(broker, actor, connect):
    """Store so many messages that are due now, over a separate connection."""
    broker.ensure_queues({"default"})
    greet = actor(queue_name="default", actor_name="greet")(lambda number: None)
    conn = connect(autocommit=True)
    return lambda number: [outbox.send(conn, greet.message(n)).message_id for n in range(number)]


@pytest.fixture
def left(rows):
    """Return a function that counts the messages that are not sent yet."""
    return lambda: rows("SELECT count(*) FROM workshed.schedule")[0][0]


@pytest.fixture
def relay_is_dead(connect):
    """Make a relay silent for more than ten seconds, without waiting."""
    conn = connect(autocommit=True)

    def age(relay):
        for query in (
            "UPDATE workshed.relays SET beat_at = beat_at - interval '11 s' WHERE id = %s",
            """
            UPDATE workshed.schedule
               SET claimed_at = claimed_at - interval '11 s'
             WHERE claimed_by = %s
            """,
        ):
            conn.execute(query, (relay,))

    return age


@pytest.fixture
def start(broker, vhost, database, rabbit_wire, postgres_wire, monkeypatch):
    """`with start():` a relay runs, with a proxy in front of both its servers."""
    monkeypatch.setenv("WORKSHED_DATABASE_URL", postgres_wire.url(database))
    monkeypatch.setattr(waits, "ANSWER_S", 1.0)
    settings.cache_clear()
    return lambda: relaying([rabbit_wire.url(vhost) + "?heartbeat=1"])


def cut(wire):
    wire.cut()


def stall(wire):
    wire.stall()


def half_open(wire):
    wire.half_open()


def truncate_upwards(wire):
    wire.truncate(700, "up")


def truncate_downwards(wire):
    wire.truncate(10, "down")


@pytest.mark.sample(2)
@pytest.mark.parametrize("fault", [cut, stall, half_open, truncate_upwards, truncate_downwards])
def test_a_line_to_rabbitmq_that_fails_loses_no_row(
    fault, start, store, left, rabbit_wire, rabbitmq, eventually
):
    """Without `appendleft` in `_on_lost`, rows in flight wait for `CONFIRM_S` and 5 s more."""
    with start():
        store(1)
        eventually(lambda: left() == 0)
        made = rabbit_wire.accepted
        fault(rabbit_wire)
        sent = store(50)
        eventually(lambda: rabbit_wire.accepted > made)
        rabbit_wire.resume()
        eventually(lambda: left() == 0)

    eventually(lambda: rabbitmq.depth("default") >= 51)
    assert set(sent) <= {m["properties"]["message_id"] for m in rabbitmq.peek("default")}


@pytest.mark.sample(2)
@pytest.mark.parametrize("fault", [cut, stall, half_open, truncate_upwards, truncate_downwards])
def test_a_line_to_postgresql_that_fails_loses_no_row(
    fault, start, store, left, relay_is_dead, postgres_wire, rabbitmq, eventually
):
    """Without the `except` in `Relay.run`, its thread ends with the first error; without
    `answering` there, it waits for ever for a connection that is half open."""
    with start() as relay:
        store(1)
        eventually(lambda: left() == 0)
        first = relay.id
        fault(postgres_wire)
        sent = store(50)
        if fault is stall:
            postgres_wire.resume()
        else:
            eventually(lambda: relay.id != first)
            relay_is_dead(first)
        eventually(lambda: left() == 0)

    eventually(lambda: rabbitmq.depth("default") >= 51)
    assert set(sent) <= {m["properties"]["message_id"] for m in rabbitmq.peek("default")}
