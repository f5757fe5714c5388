"""`workshed unique`: which job has which key, and which key has no job."""

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


def test_keys_are_listed_with_their_jobs(workshed, lock, conn):
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


def test_without_a_key_the_list_says_so(workshed):
    done = workshed("unique", "list")

    assert (done.out, done.err) == ("", "No key is held.\n")


@pytest.mark.usefixtures("management")
def test_a_key_is_orphaned_if_its_job_has_no_row_and_its_queue_is_empty(
    workshed, lock, broker, store, eventually, rabbitmq
):
    """Judged by rows alone, the key of every job that waits in RabbitMQ would be orphaned."""
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
    assert "1 more have no row in PostgreSQL" in done.err


def test_orphaned_keys_are_found_only_with_the_management_api(workshed, env):
    env(MANAGEMENT_URL="")

    done = workshed("unique", "list", "--orphaned")

    assert done.code == 1
    assert "set WORKSHED_MANAGEMENT_URL" in done.err


def test_a_key_is_released_by_hand(workshed, lock, conn):
    lock("a")

    assert workshed("unique", "release", "resize:a").code == 2  # there is no terminal to ask
    assert workshed("unique", "release", "resize:a", "--dry-run").code == 0
    assert unique.get_unique_lock(conn, "resize:a")
    done = workshed("unique", "release", "resize:a", "--yes")

    assert done.out == "resize:a  released\n"
    assert unique.get_unique_lock(conn, "resize:a") is None


def test_an_unknown_key_is_reported(workshed):
    done = workshed("unique", "release", "stranger", "--yes")

    assert (done.code, done.out) == (5, "stranger  unknown\n")
