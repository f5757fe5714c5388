"""`workshed queues`: how much is where, and which queues rest."""

import pytest

from brokers import topology
from workshed.jobs import queues


@pytest.fixture
def known(broker):
    """The queues exist."""
    broker.ensure_queues(set(broker.declared))
    return broker


def publish(broker, queue, count):
    with topology.opened(broker.urls) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(count):
            channel.basic_publish("", queue, b"x")


def by_name(workshed):
    return {one["name"]: one for one in workshed("queues", "--json").json}


def test_each_says_how_much_waits_where(workshed, known, store, bury):
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
    assert [one["name"] for one in done.json] == list(known.declared)
    assert "`workshed dead requeue emails` puts them back" in done.err


def test_it_fits_a_terminal_of_80_columns(workshed, known, conn):
    queues.declare(conn, {"scheduled": "quorum"})
    queues.pause(conn, "scheduled")

    done = workshed("queues")

    assert done.code == 0
    assert max(map(len, done.lines)) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in done.lines}
    assert rows["emails"] == ["classic/4", "1", "0", "-", "0", "0", "0"]
    assert rows["scheduled"] == ["(paused)", "quorum", "1", "0", "-", "0", "0", "0"]


def test_what_workers_hold_the_management_api_knows(workshed, known, management, eventually):
    publish(known, "default", 2)
    with topology.opened(known.urls) as connection:
        connection.channel().basic_get("default")
        eventually(lambda: by_name(workshed)["default"]["unacked"] == 1)

        assert by_name(workshed)["default"]["ready"] == 1


def test_a_queue_of_another_program_is_listed_as_far_as_it_is_known(workshed, known, conn, store):
    queues.declare(conn, {"invoices": "quorum"})
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


# Pause


def test_a_queue_rests_until_it_is_resumed(workshed, broker, conn):
    paused = workshed("queues", "pause", "emails", "bulk")

    assert (paused.code, paused.out) == (0, "emails  paused\nbulk  paused\n")
    assert queues.paused(conn) == {"emails", "bulk"}

    resumed = workshed("queues", "resume", "emails")

    assert (resumed.code, resumed.out) == (0, "emails  resumed\n")
    assert queues.paused(conn) == {"bulk"}


def test_a_queue_that_no_worker_has_declared_yet_is_noted_as_it_is_declared(workshed, broker, conn):
    """Without it a pause before the first worker starts would be a row nobody reads."""
    workshed("queues", "pause", "emails")

    assert [(one.name, one.kind) for one in queues.find(conn)] == [("emails", "classic")]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_an_unknown_queue_is_refused_before_anything_is_done(workshed, broker, conn, verb):
    done = workshed("queues", verb, "bulk", "emials")

    assert (done.code, done.out) == (5, "")
    assert "no queue 'emials' (did you mean 'emails'?)" in done.err
    assert queues.find(conn) == []
