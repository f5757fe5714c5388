"""Several servers: when one is dead, all clients of RabbitMQ go to the next."""

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
    """Return a function that sends through the relay."""

    def store(number):
        with db.transaction() as conn:
            outbox.send(conn, note.message(number))

    return store


def refuse(wire):
    wire.refuse()


def stall(wire):
    """Accept connections, and never answer."""
    wire.stall()


@pytest.mark.parametrize("fault", [refuse, stall])
def test_a_dead_first_server_is_skipped(
    fault, first, second, note, store, runs, working, eventually
):
    """pika waits 15 s for a silent server, and `send` would end before the second is tried."""
    fault(first)
    with working("default"), relaying(note.broker.urls):
        store(1)
        note.send(2)  # returns in time, as did the creation of the queue
        eventually(lambda: sorted(runs) == [1, 2])
    assert second.accepted == 4  # one each: to make the queue, publish, consume, relay


def test_when_a_server_dies_its_clients_go_to_the_other_and_back(
    first, second, note, store, runs, working, eventually
):
    """Without `_turn`, all clients try the first server for ever."""
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
