"""`workshed queues`: how much is where, and which queues are paused."""

import json
from datetime import timedelta
from types import SimpleNamespace

import dramatiq
import pytest

from workshed.console.cli.fleet import queues as command
from workshed.console.operations import wait_for_end
from workshed.jobs.batches import batches
from workshed.jobs.control import queues
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import attempts
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.locks import unique
from workshed.transport.amqp import topology


@pytest.fixture
def known(broker):
    """The queues exist."""
    broker.ensure_queues(set(broker.declared_queues))
    return broker


def publish(broker, queue, count):
    with topology.open_connection(broker.urls) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(count):
            channel.basic_publish("", queue, b"x")


def by_name(workshed):
    return {one["name"]: one for one in workshed("queues", "--json").json}


def test_each_queue_shows_how_much_waits_where(workshed, known, store, bury):
    publish(known, "emails", 3)
    publish(known, "emails.dead", 1)
    store("a", queue="emails")
    bury("b", queue="emails")

    done = workshed("queues", "list", "--json")
    emails = next(one for one in done.json if one["name"] == "emails")

    assert emails == {
        "name": "emails",
        "kind": "classic",
        "weight": 1,
        "levels": 4,
        "ready": 3,
        "unacked": None,  # only the management API knows
        "workers": 0,
        "waiting": 1,
        "dead": 1,
        "dead_queue": 1,
        "paused_at": None,
    }
    assert [one["name"] for one in done.json] == list(known.declared_queues)
    assert "To requeue: `workshed dead requeue emails`" in done.err


def test_it_fits_a_terminal_of_80_columns(workshed, known, conn):
    queues.declare_queues(conn, {"scheduled": "quorum"})
    queues.pause_queue(conn, "scheduled")

    done = workshed("queues")

    assert done.code == 0
    assert max(map(len, done.lines)) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in done.lines}
    assert rows["emails"] == ["classic/4", "1", "0", "-", "0", "0", "0"]
    assert rows["scheduled"] == ["(paused)", "quorum", "1", "0", "-", "0", "0", "0"]


def test_unacked_messages_are_shown_by_the_management_api(workshed, known, management, eventually):
    publish(known, "default", 2)
    with topology.open_connection(known.urls) as connection:
        connection.channel().basic_get("default")
        eventually(lambda: by_name(workshed)["default"]["unacked"] == 1)

        assert by_name(workshed)["default"]["ready"] == 1


def test_a_queue_of_another_program_is_listed_as_far_as_it_is_known(workshed, known, conn, store):
    queues.declare_queues(conn, {"invoices": "quorum"})
    store("a", queue="forgotten")

    found = by_name(workshed)

    assert (found["invoices"]["kind"], found["invoices"]["weight"]) == ("quorum", None)
    assert (found["forgotten"]["waiting"], found["forgotten"]["kind"]) == (1, None)


def test_before_any_queue_was_made(workshed, broker):
    found = by_name(workshed)

    assert found["emails"]["ready"] is None
    assert found["emails"]["waiting"] == 0


def test_with_rabbitmq_away_the_rest_is_shown(workshed, known, store, monkeypatch):
    store("a", queue="emails")
    monkeypatch.setattr(known, "urls", ["amqp://ada:secret@127.0.0.1:9/"])

    done = workshed("queues", "--json")

    assert done.code == 3
    emails = next(one for one in done.json if one["name"] == "emails")
    assert (emails["waiting"], emails["ready"]) == (1, None)
    assert "RabbitMQ does not answer at 127.0.0.1:9" in done.err
    assert "secret" not in done.err


def test_with_the_management_api_away_the_rest_is_shown(workshed, known, env):
    env(MANAGEMENT_URL="http://ada:secret@127.0.0.1:9")

    done = workshed("queues", "--json")

    assert done.code == 1
    assert done.json[0]["ready"] == 0
    assert "management API does not answer at 127.0.0.1:9" in done.err
    assert "secret" not in done.err


# Watch


def test_watched_queues_are_read_again_and_again(workshed, known, store, monkeypatch):
    looks = []

    def sleep(_):
        looks.append("")
        if len(looks) > 1:
            raise KeyboardInterrupt
        store("a", queue="emails")

    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=sleep))
    done = workshed("queues", "--watch", "--json")

    assert (done.code, done.err) == (0, "")
    waiting = [{one["name"]: one["waiting"] for one in json.loads(line)} for line in done.lines]
    assert [one["emails"] for one in waiting] == [0, 1]


def test_watching_goes_on_while_rabbitmq_is_away(workshed, known, monkeypatch):
    def sleep(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(known, "urls", ["amqp://ada:secret@127.0.0.1:9/"])

    done = workshed("queues", "--watch")

    assert done.code == 0
    assert done.lines[0].split()[0] == "queue"
    assert "\x1b" not in done.out  # the codes that clear a screen are only for terminals
    assert "RabbitMQ does not answer at 127.0.0.1:9" in done.err


# Purge


@pytest.fixture
def send(known, rabbitmq, eventually):
    """`send("emails")`: put a job into a queue and wait until it is ready; its message."""

    def send(queue, **options):
        message = dramatiq.Message(queue, "greet", (7,), {}, options)
        before = rabbitmq.depth(queue)
        with topology.open_connection(known.urls) as connection:
            connection.channel().basic_publish("", queue, message.encode())
        eventually(lambda: rabbitmq.depth(queue) == before + 1)
        return message

    return send


def test_purged_jobs_are_recorded_and_gone(workshed, send, rabbitmq, conn, eventually):
    first, second = send("emails"), send("emails")
    other = send("bulk")

    done = workshed("queues", "purge", "emails", "--yes")

    assert (done.code, done.out, done.err) == (0, "2\n", "2 jobs discarded.\n")
    eventually(lambda: rabbitmq.depth("emails") == 0)
    for message in (first, second):
        [row] = attempts.list_job_attempts(conn, message.message_id)
        assert (row.outcome, row.reason) == ("cancelled", "purged by an operator")
    eventually(lambda: rabbitmq.depth("bulk") == 1)
    assert attempts.list_job_attempts(conn, other.message_id) == []


def test_a_purge_frees_keys_and_ends_batches_and_waits(workshed, send, conn):
    """RabbitMQ's own purge leaves a key that no job can take, and a batch that never ends."""
    batch = "00000000-0000-4000-8000-000000000001"
    message = send("emails", unique_key="greet 7", batch=batch, awaited=True)
    claim = unique.KeyClaim("greet 7", message.message_id, 0, "greet", "emails", None)
    assert unique.acquire_key(conn, claim) == message.message_id
    with conn.transaction():
        conn.execute(*batches.open_statement(batch, "greetings", {}))
        conn.execute(*batches.join_statement(batch, [message.message_id]))
        conn.execute(*batches.close_statement(batch))

    workshed("queues", "purge", "emails", "--yes")

    assert unique.get_unique_lock(conn, "greet 7") is None
    states = conn.execute("SELECT state FROM workshed.batch_jobs").fetchall()
    assert states == [("cancelled",)]
    end = wait_for_end.wait_for_end(conn, message, timedelta())
    assert end == wait_for_end.FinalState("cancelled", "purged by an operator")


def test_a_copy_of_a_settled_job_is_purged_without_another_outcome(workshed, send, conn):
    message = send("emails")
    completed_generations.complete_generation(conn, message.message_id, 0)

    assert workshed("queues", "purge", "emails", "--yes", "--json").json["purged"] == 1
    assert attempts.list_job_attempts(conn, message.message_id) == []


def test_an_unreadable_message_is_dead_with_its_body(workshed, known, conn, rabbitmq, eventually):
    publish(known, "emails", 1)
    eventually(lambda: rabbitmq.depth("emails") == 1)

    done = workshed("queues", "purge", "emails", "--yes", "--json")

    assert done.json == {"queue": "emails", "found": 1, "purged": 0, "unreadable": 1}
    [row] = dead_jobs.list_dead_jobs(conn)
    assert (row.body, row.queue, row.actor) == (b"x", "emails", None)


def test_a_purge_says_how_many_and_does_nothing_until_it_is_confirmed(
    workshed, send, store, rabbitmq, eventually
):
    send("emails")
    store("a", queue="emails")

    looked = workshed("queues", "purge", "emails", "--dry-run")

    assert (looked.code, looked.out) == (0, "1\n")
    assert looked.err.startswith("1 job would be discarded.\n1 more in PostgreSQL: ")

    refused = workshed("queues", "purge", "emails")

    assert (refused.code, refused.out) == (2, "")
    assert "Discard 1 job of emails: no terminal to confirm at; use --yes" in refused.err
    eventually(lambda: rabbitmq.depth("emails") == 1)


def test_a_purge_of_an_empty_queue_needs_no_confirmation(workshed, known):
    done = workshed("queues", "purge", "emails")

    assert (done.code, done.out, done.err) == (0, "0\n", "0 jobs discarded.\n")


@pytest.mark.parametrize(
    ("queue", "said"),
    [("emials", "did you mean 'emails'?"), ("emails", "has no queue 'emails' yet")],
)
def test_a_missing_queue_is_not_purged(workshed, broker, queue, said):
    done = workshed("queues", "purge", queue, "--yes")

    assert (done.code, done.out) == (5, "")
    assert said in done.err


# Pause


def test_a_queue_is_paused_until_it_is_resumed(workshed, broker, conn):
    paused = workshed("queues", "pause", "emails", "bulk")

    assert (paused.code, paused.out) == (0, "emails  paused\nbulk  paused\n")
    assert queues.list_paused(conn) == {"emails", "bulk"}

    resumed = workshed("queues", "resume", "emails")

    assert (resumed.code, resumed.out) == (0, "emails  resumed\n")
    assert queues.list_paused(conn) == {"bulk"}


def test_pausing_a_queue_that_no_worker_has_declared_declares_it(workshed, broker, conn):
    """Otherwise a pause before the first worker starts would have no effect."""
    workshed("queues", "pause", "emails")

    assert [(one.name, one.kind) for one in queues.list_queues(conn)] == [("emails", "classic")]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_an_unknown_queue_is_refused_before_anything_is_done(workshed, broker, conn, verb):
    done = workshed("queues", verb, "bulk", "emials")

    assert (done.code, done.out) == (5, "")
    assert "no queue 'emials' (did you mean 'emails'?)" in done.err
    assert queues.list_queues(conn) == []
