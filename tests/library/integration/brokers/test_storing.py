"""Messages that RabbitMQ cannot take."""

import contextlib
import json
import shutil
import socket
import time

import pytest

from workshed.transport.errors import (
    BrokerBlockedError,
    BrokerUnreachableError,
    PublishRefusedError,
    TopologyError,
)

STORED = (
    "SELECT message_id, reason, possible_duplicate, due_at <= workshed.now() FROM workshed.schedule"
)


@pytest.fixture
def greet(actor):
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


@pytest.fixture
def runs(actor):
    """An actor that records its runs."""
    done = []

    @actor(queue_name="default")
    def note(number):
        done.append(number)

    return note, done


@pytest.fixture
def took():
    """`with took() as time:` measure the block; `time()` is its duration in seconds."""

    @contextlib.contextmanager
    def measure():
        began = time.monotonic()
        ended = []
        yield lambda: ended[0] - began
        ended.append(time.monotonic())

    return measure


def test_a_message_that_rabbitmq_cannot_take_is_stored_and_due(greet, away, rows):
    away()

    message = greet.send(1)

    assert rows(STORED) == [(message.message_id, "broker_down", False, True)]


def test_a_stored_message_runs_once_rabbitmq_is_back(runs, gone, working, relaying, eventually):
    note, done = runs
    note.send(0)
    with gone():
        note.send(1)

    with working("default"), relaying():
        eventually(lambda: sorted(done) == [0, 1])


def test_no_send_waits_for_a_server_that_is_known_to_be_away(greet, gone, took, rows):
    greet.send(0)

    with gone(), took() as seconds:
        for number in range(20):
            greet.send(number)

    assert seconds() < 30  # if each waited until its own deadline, they would take 100 s
    assert len(rows(STORED)) == 20


def test_messages_go_direct_again_as_soon_as_rabbitmq_answers(
    greet, gone, broker, rabbitmq, rows, eventually
):
    greet.send(0)
    with gone():
        greet.send(1)

    eventually(lambda: broker._publisher.outage() is None)
    greet.send(2)

    eventually(lambda: rabbitmq.depth("default") == 2)
    assert len(rows(STORED)) == 1


def test_while_rabbitmq_is_blocked_messages_are_stored_at_once(
    greet, blocked, broker, took, rabbitmq, rows
):
    greet.send(0)

    with blocked(), took() as seconds:
        for number in range(1, 21):
            greet.send(number)

    assert seconds() < 30
    assert {row[1:] for row in rows(STORED)} == {("broker_down", False, True)}
    greet.send(21)
    args = [json.loads(m["payload"])["args"][0] for m in rabbitmq.peek("default")]
    assert set(args) == {0, 21}  # 0 is there twice if the alarm came after it


def test_a_stored_message_has_no_copy_waiting_to_be_published(
    runs, stuck, patience, working, relaying, rabbitmq, eventually
):
    """Unless the unpublished copy is withdrawn first, it is sent as well, and both run."""
    note, done = runs
    patience(0.2)
    with stuck():
        note.send(1)
    patience(5)
    note.send(2)

    with working("default"), relaying():
        eventually(lambda: {1, 2} <= set(done))
        eventually(lambda: rabbitmq.unacked("default") + rabbitmq.depth("default") == 0)

    assert sorted(done) == [1, 2]


@pytest.mark.usefixtures("unanswered")
def test_a_message_that_may_have_arrived_is_marked(greet, patience, rows):
    """Without the mark its consumers would not check for duplicates."""
    patience(0.2)

    message = greet.send(1)

    assert rows(STORED) == [(message.message_id, "broker_down", True, True)]


@pytest.mark.usefixtures("not_storing")
def test_without_the_fallback_the_sender_gets_the_error_of_an_outage(greet, away, rows):
    away()

    with pytest.raises(BrokerUnreachableError, match=r"refused.*nothing was sent"):
        greet.send(1)

    assert rows(STORED) == []


@pytest.mark.usefixtures("no_database")
def test_with_postgresql_away_too_both_are_named(greet, away):
    away()

    with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1:9 .*and PostgreSQL could not"):
        greet.send(1)


@pytest.mark.usefixtures("no_database")
def test_with_postgresql_away_a_block_is_reported_as_one(greet, blocked):
    greet.send(0)

    with (
        blocked(),
        pytest.raises(BrokerBlockedError, match=r"nothing was sent.*PostgreSQL could not"),
    ):
        greet.send(1)


def test_a_message_that_rabbitmq_refuses_is_not_stored(greet, full, rows, eventually):
    greet.send(0)
    full(1)

    def refused():
        with contextlib.suppress(PublishRefusedError):
            return not greet.send(1)
        return True

    eventually(refused)
    with pytest.raises(PublishRefusedError, match="refused the message: it is full"):
        greet.send(2)
    assert rows(STORED) == []


def test_a_message_that_a_classic_queue_refuses_is_stored(actor, full, rows, eventually):
    """It refuses messages while its node stops, too, and does not report which case it is."""
    mail = actor(queue_name="emails")(lambda number: None)
    mail.send(0)
    full(1)

    def stored():
        mail.send(1)
        return [one for one in rows(STORED) if one[1] == "broker_down"]

    assert eventually(stored)[0][2:] == (False, True)


def test_nothing_is_stored_for_a_queue_that_cannot_be_made(greet, rabbitmq, rows):
    path = f"queues/{rabbitmq.vhost}/default"
    rabbitmq.ask("PUT", path, {"durable": True, "arguments": {"x-queue-type": "classic"}})

    with pytest.raises(TopologyError, match="inequivalent"):
        greet.send(1)

    assert rows(STORED) == []


def test_senders_do_not_wait_one_after_the_other_for_a_silent_server(
    greet, away, patience, took, in_threads, rows
):
    """If each sender checked its queue in turn, the last of these would wait for 40 s."""
    patience(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        away(f"amqp://127.0.0.1:{silent.getsockname()[1]}/shop")

        with took() as seconds:
            in_threads(greet.send, range(8), threads=8)

    assert seconds() < 30
    assert len(rows(STORED)) == 8


def test_a_rabbitmq_that_lost_its_data_is_sent_to_without_a_restart(
    greet, broker, servers, rabbitmq, rows, eventually
):
    """Unless the queues are made again, every send is refused until each process is restarted."""
    greet.send(0)
    servers.rabbitmq.kill()
    shutil.rmtree(servers.rabbitmq.folder / "data")
    servers.rabbitmq.start()
    rabbitmq.ask("PUT", f"vhosts/{rabbitmq.vhost}", {})
    eventually(lambda: broker._publisher.outage() is None)

    greet.send(1)
    broker.enqueue_many(greet.message(number) for number in range(2, 1_002))

    eventually(lambda: rabbitmq.depth("default") == 1_001)
    assert rows(STORED) == []
