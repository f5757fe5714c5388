"""`workshed dead requeue`: move messages out of RabbitMQ's dead queues without losing any."""

import json
import subprocess
import sys
import threading

import pika
import pytest

from tests.processes import popen
from workshed.console.rabbitmq.dead_letter_queue import requeue_messages
from workshed.console.rabbitmq.queue_depths import fetch_depths
from workshed.transport.amqp import topology
from workshed.transport.amqp.arguments import EXCHANGE
from workshed.transport.errors import PublishRefusedError

pytestmark = pytest.mark.one_in(3)  # each test starts programs of its own


@pytest.fixture(autouse=True)
def _queues(broker):
    broker.ensure_queues({"default", "emails"})


@pytest.fixture
def lay(broker, rabbitmq, eventually):
    """`lay(3)`: put messages into `default.dead`, as RabbitMQ does."""

    def lay(count):
        with topology.open_connection(broker.urls) as connection:
            channel = connection.channel()
            for number in range(count):
                headers = {"attempt": 1, "x-death": [], "x-first-death-queue": "default"}
                properties = pika.BasicProperties(
                    message_id=str(number), delivery_mode=2, priority=3, headers=headers
                )
                channel.basic_publish("", "default.dead", b"%d" % number, properties)
        eventually(lambda: rabbitmq.depth("default.dead") == count)

    return lay


def bodies(rabbitmq, queue):
    return [message["payload"] for message in rabbitmq.peek(queue, 10_000)]


def test_messages_are_put_back_in_order_and_marked_as_possible_duplicates(
    workshed, lay, rabbitmq, eventually
):
    """Without the mark a consumer does not check for duplicates, and a settled job runs again."""
    lay(3)

    done = workshed("dead", "requeue", "default", "--yes")

    assert (done.code, done.out, done.err) == (0, "3\n", "3 requeued into default.\n")
    eventually(lambda: rabbitmq.depth("default") == 3)
    eventually(lambda: rabbitmq.depth("default.dead") == 0)
    messages = rabbitmq.peek("default")
    assert [message["payload"] for message in messages] == ["0", "1", "2"]
    properties = messages[0]["properties"]
    assert properties["headers"] == {"attempt": 1, "possible_duplicate": True}
    assert (properties["message_id"], properties["priority"]) == ("0", 3)


def test_a_limited_number_is_put_back(workshed, lay, rabbitmq, eventually):
    lay(3)

    done = workshed("dead", "requeue", "default.dead", "--limit", "2", "--yes", "--json")

    assert done.json == {"queue": "default", "found": 3, "moved": 2}
    eventually(lambda: rabbitmq.depth("default") == 2)
    eventually(lambda: bodies(rabbitmq, "default.dead") == ["2"])


def test_a_dry_run_changes_nothing(workshed, lay, rabbitmq, eventually):
    lay(2)

    done = workshed("dead", "requeue", "default", "--dry-run")

    assert (done.code, done.out, done.err) == (0, "2\n", "2 would be requeued.\n")
    eventually(lambda: rabbitmq.depth("default.dead") == 2)


def test_without_a_terminal_yes_is_required(workshed, lay, rabbitmq, eventually):
    lay(1)

    done = workshed("dead", "requeue", "default")

    assert done.code == 2
    assert "Requeue 1 of 1 in default.dead: no terminal" in done.err
    eventually(lambda: rabbitmq.depth("default.dead") == 1)


def test_without_a_message_it_does_nothing(workshed):
    done = workshed("dead", "requeue", "default")

    assert (done.code, done.out) == (0, "0\n")


def test_an_unknown_queue(workshed):
    done = workshed("dead", "requeue", "defualt")

    assert (done.code, done.out) == (5, "")
    assert "RabbitMQ has no queue 'defualt.dead' (did you mean 'default'?)" in done.err


def test_rabbitmq_away(workshed, broker, monkeypatch):
    monkeypatch.setattr(broker, "urls", ["amqp://ada:secret@127.0.0.1:9/"])

    done = workshed("dead", "requeue", "default", "--yes")

    assert (done.code, done.out) == (3, "")
    assert "RabbitMQ does not answer at 127.0.0.1:9" in done.err


def test_the_list_of_dead_jobs_mentions_them(workshed, lay):
    lay(2)

    done = workshed("dead", "--json")

    assert done.json == []
    assert "default.dead on RabbitMQ holds 2" in done.err
    assert "To requeue: `workshed dead requeue default`" in done.err


def test_a_message_that_its_queue_does_not_take_stays(broker, lay, eventually):
    """Acked before the confirm, it would be lost."""
    lay(2)
    with topology.open_connection(broker.urls) as connection:
        connection.channel().queue_unbind("default", EXCHANGE, "default")

    with pytest.raises(PublishRefusedError, match="run `workshed broker setup`"):
        requeue_messages(broker.urls, "default", 2, lambda: None)

    # The message in hand is ready again once RabbitMQ has noticed the end of its connection.
    eventually(lambda: fetch_depths(broker.urls, ["default.dead"])["default.dead"].ready == 2)


def test_it_may_take_as_long_as_it_needs(broker, lay):
    """The connection that makes queues ends after 5 s, too soon for a large queue."""
    lay(3)

    def slowly():
        threading.Event().wait(topology.TIMEOUT_S / 2)

    assert requeue_messages(broker.urls, "default", 3, slowly) == 3


def test_killed_again_and_again_it_loses_no_message(lay, rabbitmq, broker, eventually, scale):
    """Killed between the confirm and the ack, it leaves a message twice, but never loses it."""
    count = scale(20_000)
    lay(count)
    command = [sys.executable, "-m", "workshed", "dead", "requeue", "default", "--yes"]
    kills = 0

    def back():  # over AMQP, because the management API counts too late
        with topology.open_connection(broker.urls) as connection:
            found = connection.channel().queue_declare("default", passive=True)
        return found.method.message_count

    while rabbitmq.queues()["default.dead"]["messages"]:  # with those of a killed one
        enough = back() + count // 8
        with popen(command, stdout=subprocess.DEVNULL) as process:
            eventually(
                lambda process=process, enough=enough: back() > enough or process.poll() is not None
            )
            kills += process.poll() is None
            process.kill()
        eventually(lambda: rabbitmq.unacked("default.dead") == 0)

    found = bodies(rabbitmq, "default")
    assert kills > 2
    assert {json.loads(one) for one in found} == set(range(count))
    assert len(found) <= count + kills
