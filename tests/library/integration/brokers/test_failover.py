"""Several servers: when one is dead, all that needs RabbitMQ goes to the next."""

import pytest

from tests.faults.relaying import relaying
from workshed import db
from workshed import schedule as outbox

pytestmark = pytest.mark.usefixtures("not_storing")


@pytest.fixture
def first(proxy, servers):
    return proxy(servers.broker_url)


@pytest.fixture
def second(proxy, servers):
    return proxy(servers.broker_url)


@pytest.fixture
def vhost(vhost, first, second):
    return f"{first.url(vhost)};{second.url(vhost)}"


@pytest.fixture
def runs():
    return []


@pytest.fixture
def note(actor, runs):
    return actor(queue_name="default", actor_name="note")(runs.append)


@pytest.fixture
def store(note):
    """Send by way of the relay."""

    def store(number):
        with db.transaction() as conn:
            outbox.send(conn, note.message(number))

    return store


def refuse(wire):
    wire.refuse()


def stall(wire):
    """It takes connections, and says nothing."""
    wire.stall()


@pytest.mark.parametrize("fault", [refuse, stall])
def test_a_dead_first_server_is_passed_over(
    fault, first, second, note, store, runs, working, eventually
):
    """With the 15 s that pika waits for a silent server, `send` ends before the second is tried."""
    fault(first)
    with working("default"), relaying(note.broker.urls):
        store(1)
        note.send(2)  # returns in time, as does making the queue before it
        eventually(lambda: sorted(runs) == [1, 2])
    assert second.accepted == 4  # to make the queue, to publish, to consume, to relay


def test_when_a_server_dies_its_clients_go_to_the_other_and_back(
    first, second, note, store, runs, working, eventually
):
    """Without `_turn`, all try the first one for ever."""
    sent = []

    def send():
        for way in (note.send, store):
            sent.append(len(sent))
            way(sent[-1])
        eventually(lambda: set(runs) == set(sent))

    with working("default"), relaying(note.broker.urls):
        send()
        for dead, alive in ((first, second), (second, first), (first, second)):
            alive.accept()
            dead.refuse()
            dead.cut()
            send()
            eventually(lambda: (dead.connections, alive.connections) == (0, 3))  # noqa: B023
