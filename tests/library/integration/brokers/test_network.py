"""A network that fails between a sender and RabbitMQ: nothing that `send` accepted is lost."""

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest

from workshed.transport.amqp import connection as link
from workshed.transport.amqp import topology
from workshed.transport.errors import BrokerUnreachableError

pytestmark = pytest.mark.usefixtures("not_storing", "vhost")


@pytest.fixture
def wire(proxy, servers):
    """A proxy for all traffic of this test's broker."""
    return proxy(servers.broker_url)


@pytest.fixture
def options():
    """The query string of the URL."""
    return ""


@pytest.fixture
def vhost(vhost, wire, options):
    return wire.url(vhost) + options


# Short enough for a test to wait for.
short_heartbeats = pytest.mark.parametrize("options", ["?heartbeat=1"])


@pytest.fixture
def greet(actor):
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


@pytest.fixture
def copies(rabbitmq):
    """The queue's content: for each message, the `possible_duplicate` mark of each copy."""

    def look():
        found = defaultdict(list)
        for message in rabbitmq.peek("default", 10_000):
            properties = message["properties"]
            found[properties["message_id"]].append("possible_duplicate" in properties["headers"])
        return found

    return look


@pytest.fixture
def hurried(monkeypatch):
    """Reconnect at once, however often."""
    monkeypatch.setattr(link, "LONGEST_PAUSE_S", 0.02)


def test_messages_without_a_confirm_when_the_line_was_cut_are_sent_again_and_marked(
    greet, wire, rabbitmq, patience, copies, eventually
):
    """Without `appendleft` in `_on_lost`, each of the 16 raises at its deadline."""
    greet.send(0)
    patience(20)
    wire.stall("down")
    with ThreadPoolExecutor(16) as pool:
        sends = [pool.submit(greet.send, number) for number in range(16)]
        eventually(lambda: rabbitmq.depth("default") == 17)
        wire.cut()
        wire.resume()
        sent = {send.result().message_id for send in sends}

    eventually(lambda: rabbitmq.depth("default") == 33)
    found = copies()
    assert [sorted(found[message_id]) for message_id in sent] == [[False, True]] * 16


def test_a_stalled_line_raises_in_time_and_says_what_is_unknown(
    greet, wire, patience, copies, eventually
):
    """Without a limit in `Publisher.wait` it hangs; without `unknown` it says nothing was sent."""
    greet.send(0)
    patience(0.5)
    wire.stall()
    started = time.monotonic()
    with pytest.raises(BrokerUnreachableError, match="a copy may have arrived"):
        greet.send(1)
    assert time.monotonic() - started < 20  # a lost connection takes 20 s or more

    wire.resume()
    patience(20)
    last = greet.send(2)
    eventually(lambda: last.message_id in copies())


def test_a_line_that_is_down_raises_in_time_and_says_nothing_was_sent(
    greet, wire, patience, copies, eventually
):
    greet.send(0)
    patience(0.2)
    wire.refuse()
    wire.cut()
    eventually(lambda: "refused" in greet.broker._publisher._link.last_error)

    with pytest.raises(BrokerUnreachableError, match=r"refused.*nothing was sent") as error:
        greet.send(1)

    assert f"127.0.0.1:{wire.port}" in str(error.value)
    wire.accept()
    patience(20)
    greet.send(2)
    assert len(copies()) == 2


@short_heartbeats
def test_a_half_open_line_confirms_nothing_and_is_replaced(
    greet, wire, rabbitmq, patience, copies, eventually
):
    """Without `_watch` and heartbeats, both sends raise, and all that follow."""
    greet.send(0)
    patience(0.5)
    wire.half_open()
    with pytest.raises(BrokerUnreachableError, match="a copy may have arrived"):
        greet.send(1)

    patience(20)
    sent = greet.send(2)

    eventually(lambda: rabbitmq.depth("default") == 2)
    assert copies()[sent.message_id] == [True]


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_frame_cut_anywhere_loses_nothing(
    way, greet, broker, wire, patience, copies, hurried, eventually
):
    """Without `appendleft` in `_on_lost`, the first one raises."""
    patience(20)
    sent = [greet.send(0)]
    before = wire.passed(way)
    sent.append(greet.send(1))
    size = wire.passed(way) - before

    offsets = range(0, size - 4, 13 if way == "up" else 1)
    for offset in offsets:
        wire.truncate(offset, way)
        sent.append(greet.send(offset))

    assert wire.accepted == 2 + len(offsets)  # each connection was cut
    assert {message.message_id for message in sent} <= set(copies())
    assert broker._publisher._link.is_alive()


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_handshake_cut_anywhere_is_retried(way, greet, broker, wire, patience, copies, hurried):
    """If pika's guess were believed, some of these cuts would be reported as a wrong password."""
    patience(20)
    sent = [greet.send(0)]
    before = wire.passed(way)
    wire.cut()
    sent.append(greet.send(1))
    size = wire.passed(way) - before

    link_errors = set()
    for offset in range(0, size, 41):
        wire.truncate_next(offset, way)
        wire.cut()
        sent.append(greet.send(offset))
        link_errors.add(broker._publisher._link.last_error)

    assert not [trouble for trouble in link_errors if "password" in trouble]
    assert {message.message_id for message in sent} <= set(copies())
    assert broker._publisher._link.is_alive()


def test_queues_are_made_in_time_or_not_at_all(broker, wire):
    """A blocking call of pika waits for ever: without `_abort_at` this hangs."""
    started = time.monotonic()

    def stall_and_declare():
        with topology.open_connection(broker.urls, 1.0) as connection:
            wire.stall()
            topology._declare_queue(connection.channel(), broker.declared_queues["default"])

    with pytest.raises(BrokerUnreachableError, match="did not answer in time"):
        stall_and_declare()
    with pytest.raises(BrokerUnreachableError, match="did not answer in time"):
        topology.declare_queues(broker.urls, [broker.declared_queues["default"]], 0.5)
    assert time.monotonic() - started < 60


@pytest.mark.fresh_vhost
def test_threads_that_end_leave_no_connection(greet, wire, rabbitmq, eventually):
    """Stock dramatiq leaks one for each thread that ended."""
    for number in range(20):
        thread = Thread(target=greet.send, args=(number,))
        thread.start()
        thread.join()

    eventually(lambda: rabbitmq.depth("default") == 20)
    eventually(lambda: wire.connections == 1)
    assert wire.accepted == 2  # one of them made the queue
    eventually(lambda: len(rabbitmq.connections()) == 1)


@short_heartbeats
def test_heartbeats_keep_idle_connections_alive_and_their_absence_ends_them(
    actor, working, wire, eventually
):
    """RabbitMQ closes a connection that is silent for two heartbeats: without any, both are lost.

    Without `_watch`, pika takes 6 to 12 s to give up a connection on which nothing arrives.
    """
    runs = []
    note = actor(queue_name="default", actor_name="note")(runs.append)
    with working("default"):
        note.send(1)
        eventually(lambda: runs == [1])
        accepted, before = wire.accepted, wire.passed("up")
        frames = 2 * 6  # six of each connection, two a second, of 8 bytes each
        eventually(lambda: wire.passed("up") - before >= frames * 8)
        assert wire.accepted == accepted

        wire.stall()
        eventually(lambda: wire.accepted >= accepted + 2, within_s=30)  # both try to reconnect
        wire.resume()
        note.send(2)
        eventually(lambda: runs == [1, 2])
