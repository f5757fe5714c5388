"""`workshed unique`: who has which key, and which key has no job."""

from uuid import uuid4

import pytest

from workshed.jobs.locks import run_locks, unique
from workshed.transport.amqp import topology

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def lock(conn):
    """`lock("m")`: a message has the key of its name."""

    def take(message_id, queue="default", actor="resize"):
        unique.acquire_key(
            conn, unique.KeyClaim(f"resize:{message_id}", message_id, 0, actor, queue)
        )

    return take


def keys(workshed, *words):
    return [one["key"] for one in workshed("unique", "list", "--json", *words).json]


def test_they_are_listed_with_who_has_them(workshed, lock, conn):
    lock("a")
    run_locks.acquire_lock(
        conn, run_locks.RunLock("sync:7", uuid4(), "b", 0, "sync", "low", "host", 1)
    )

    done = workshed("unique")

    assert done.code == 0
    assert "resize:a" in done.out
    assert max(map(len, done.lines)) <= 80
    assert keys(workshed) == ["resize:a", "sync:7"]
    assert keys(workshed, "--actor", "sync") == ["sync:7"]


def test_none_is_said(workshed):
    done = workshed("unique", "list")

    assert (done.out, done.err) == ("", "No key is held.\n")


@pytest.mark.usefixtures("management")
def test_a_key_is_orphaned_when_its_job_is_neither_here_nor_in_its_queue(
    workshed, lock, broker, store, eventually, rabbitmq
):
    """Judged by its row alone, the key of every job that waits in RabbitMQ would be one."""
    broker.ensure_queues({"default", "low"})
    lock("purged", queue="default")
    lock("waits in RabbitMQ", queue="low")
    lock("waits here", queue="default")
    store("waits here", queue="default")
    with topology.open_connection(broker.urls) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "low", b"x")
    eventually(lambda: rabbitmq.depth("low") == 1)

    done = workshed("unique", "list", "--orphaned", "--json")

    assert [one["key"] for one in done.json] == ["resize:purged"]
    assert "1 more have no row here" in done.err


def test_which_are_orphaned_only_the_management_api_tells(workshed, env):
    env(MANAGEMENT_URL="")

    done = workshed("unique", "list", "--orphaned")

    assert done.code == 1
    assert "set WORKSHED_MANAGEMENT_URL" in done.err


def test_a_key_is_released_by_hand(workshed, lock, conn):
    lock("a")

    assert workshed("unique", "release", "resize:a").code == 2  # nobody can be asked
    assert workshed("unique", "release", "resize:a", "--dry-run").code == 0
    assert unique.find_holder(conn, "resize:a")
    done = workshed("unique", "release", "resize:a", "--yes")

    assert done.out == "resize:a  released\n"
    assert unique.find_holder(conn, "resize:a") is None


def test_a_key_nobody_has_is_unknown(workshed):
    done = workshed("unique", "release", "nobody", "--yes")

    assert (done.code, done.out) == (5, "nobody  unknown\n")
