"""A network that fails between a worker and RabbitMQ: every job runs, on one connection."""

import threading

import pytest

from workshed.transport.amqp import topology
from workshed.transport.publishing.publisher import Publisher


@pytest.fixture
def wire(proxy, servers):
    """The worker's connection; senders have one of their own."""
    return proxy(servers.broker_url)


@pytest.fixture
def direct(vhost):
    """The URL of the virtual host, without the proxy."""
    return vhost


@pytest.fixture
def vhost(direct, wire):
    """Heartbeats are short enough for a test to wait for."""
    return wire.url(direct) + "?heartbeat=1"


@pytest.fixture
def broker(broker, direct, monkeypatch):
    publisher = Publisher([direct], "publisher")
    monkeypatch.setattr(broker._sender, "_publisher", publisher)
    yield broker
    publisher.close()


@pytest.fixture
def runs(actor):
    """An actor that records its runs; the first runs of 1 and 2 wait for `runs.go_on`."""

    class Runs(list):
        started = threading.Barrier(3)
        go_on = threading.Event()

    found, held = Runs(), [1, 2]

    @actor(queue_name="default")
    def note(number):
        if number in held:
            held.remove(number)
            found.started.wait(60)
            found.go_on.wait(60)
        found.append(number)

    found.send = note.send
    return found


@pytest.fixture
def consumers(direct):
    """Return a function that counts the queue's consumers; the management API is too slow."""

    def count():
        with topology.open_connection([direct]) as connection:
            found = connection.channel().queue_declare("default", passive=True)
            return found.method.consumer_count

    return count


def cut(wire):
    wire.cut()


def end_by_fin(wire):
    wire.cut(reset=False)


def stall(wire):
    """Stall for longer than the heartbeat: both sides give the connection up."""
    wire.stall()


def half_open(wire):
    wire.half_open()


def truncate_an_ack(wire):
    wire.truncate(5, "up")


def truncate_a_delivery(wire):
    wire.truncate(150, "down")


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "fault", [cut, end_by_fin, stall, half_open, truncate_an_ack, truncate_a_delivery]
)
def test_jobs_that_run_while_the_line_fails_do_not_ack_others(
    fault, runs, working, wire, broker, rabbitmq, consumers, eventually
):
    """Their delivery tags mean other jobs on the next channel.

    Without the channel in `Delivery`, late acks would remove 3 and 4, which still run.
    """
    line = broker._consumer_connection.link
    with working("default", threads=2):
        for number in (1, 2):
            runs.send(number)
        runs.started.wait(60)
        lost = line._connection
        fault(wire)
        runs.send(3)
        eventually(lambda: not lost.is_open)
        wire.resume()
        eventually(line._open.is_set)
        for number in range(4, 9):
            runs.send(number)
        runs.go_on.set()

        eventually(lambda: set(runs) == set(range(1, 9)))
        eventually(lambda: rabbitmq.unacked("default") + rabbitmq.depth("default") == 0)
        eventually(lambda: consumers() == 1)
        eventually(lambda: wire.connections == 1)

    assert all(runs.count(number) == 1 for number in range(4, 9))
