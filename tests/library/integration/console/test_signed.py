"""Operators' commands vouch for no message that was not signed here."""

import dramatiq
import pika
import pytest

from workshed.jobs.dead import dead_jobs
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.locks import unique
from workshed.transport.amqp import topology
from workshed.transport.messages.signing import SIGNATURE_HEADER, Signing

NEW, OLD = "n" * 32, "o" * 32


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    monkeypatch.setenv("WORKSHED_SIGNING_KEYS", f"{NEW},{OLD}")


@pytest.fixture
def lay(broker, rabbitmq, eventually):
    """`lay("default", message, headers)`: put a message into a queue as another program may."""
    broker.ensure_queues({"default"})

    def lay(queue, message, headers):
        with topology.open_connection(broker.urls) as connection:
            properties = pika.BasicProperties(headers=headers, delivery_mode=2)
            connection.channel().basic_publish("", queue, message.encode(), properties)
        eventually(lambda: rabbitmq.depth(queue) > 0)

    return lay


@pytest.fixture
def message():
    return dramatiq.Message("default", "greet", (7,), {}, {"unique_key": "greet 7"})


def signed(message, key=NEW):
    headers = {"published_ms": 1_700_000_000_000, "x-death": []}
    sign = Signing([key], required=True).sign
    return {**headers, SIGNATURE_HEADER: sign("default", headers, message.encode())}


def test_a_forged_copy_that_is_purged_ends_no_job_and_frees_no_key(workshed, lay, message, conn):
    """Otherwise it would be recorded as the end of the job whose id it has."""
    claim = unique.KeyClaim("greet 7", message.message_id, 0, "greet", "default", None)
    assert unique.acquire_key(conn, claim) == message.message_id
    lay("default", message, {})

    done = workshed("queues", "purge", "default", "--yes", "--json")

    assert (done.json["purged"], done.json["unreadable"]) == (0, 1)
    assert unique.get_unique_lock(conn, "greet 7") is not None
    assert completed_generations.complete_generation(conn, message.message_id, 0)
    assert [(row.actor, row.error_class) for row in dead_jobs.list_dead_jobs(conn)] == [
        (None, "SignatureError")
    ]


def test_a_signed_message_is_purged_as_usual(workshed, lay, message, conn):
    lay("default", message, signed(message))

    assert workshed("queues", "purge", "default", "--yes", "--json").json["purged"] == 1
    assert dead_jobs.list_dead_jobs(conn) == []


@pytest.mark.parametrize("key", [NEW, OLD])
def test_a_message_that_is_put_back_is_signed_again_with_the_newest_key(
    workshed, lay, message, rabbitmq, broker, eventually, key
):
    """`possible_duplicate` is signed: without a new signature the job would be dead again."""
    lay("default.dead", message, signed(message, key))

    assert workshed("dead", "requeue", "default", "--yes").out == "1\n"

    [found] = eventually(lambda: rabbitmq.peek("default"))
    headers = found["properties"]["headers"]
    assert headers["possible_duplicate"] is True
    assert headers[SIGNATURE_HEADER].startswith(f"v1:{broker.signing.key_ids[0]}:")
    broker.signing.verify("default", headers, message.encode())


@pytest.mark.parametrize("headers", [{}, signed(dramatiq.Message("default", "x", (), {}, {}))])
def test_what_a_stranger_published_there_is_not_signed_by_putting_it_back(
    workshed, lay, message, rabbitmq, broker, eventually, headers
):
    """Anyone who may publish can put a message into a dead queue, and wait for an operator."""
    lay("default.dead", message, headers)

    assert workshed("dead", "requeue", "default", "--yes").out == "1\n"

    [found] = eventually(lambda: rabbitmq.peek("default"))
    assert found["properties"]["headers"].get(SIGNATURE_HEADER) == headers.get(SIGNATURE_HEADER)
    assert not broker.signing.is_signed_by_us(
        "default", found["properties"]["headers"], message.encode()
    )
