"""Errors that every command reports in the same way."""

from urllib.parse import urlsplit, urlunsplit

import pytest
from psycopg import sql

from workshed import __version__

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

COMMANDS = [
    ("scheduled",),
    ("scheduled", "show", "a"),
    ("scheduled", "run", "a"),
    ("scheduled", "move", "a", "--in", "1h"),
    ("scheduled", "cancel", "a", "--yes"),
    ("scheduled", "cancel", "--all", "--yes"),
    ("scheduled", "rules"),
    ("scheduled", "rules", "delete", "1"),
    ("job", "a"),
    ("job", "a", "cancel", "--yes"),
    ("batches",),
    ("batches", "show", "00000000-0000-0000-0000-000000000000"),
    ("batches", "retry", "00000000-0000-0000-0000-000000000000", "--yes"),
    ("batches", "cancel", "00000000-0000-0000-0000-000000000000", "--yes"),
    ("dead", "--json"),
    ("dead", "--group"),
    ("dead", "show", "a"),
    ("dead", "retry", "a"),
    ("dead", "discard", "a", "--yes"),
    ("queues",),
    ("workers",),
    ("workers", "quiet", "one:101"),
    ("queues", "--watch"),
    ("queues", "pause", "bulk"),
    ("queues", "purge", "bulk", "--yes"),
    ("periodic",),
    ("periodic", "run", "maintain"),
    ("periodic", "pause", "maintain"),
    ("enqueue", "deliver_email", "7", "--in", "1h", "--wait"),
    ("job", "a", "--follow"),
    ("jobs",),
    ("limits",),
    ("unique",),
    ("unique", "release", "a", "--yes"),
    ("erase", "ada@example.org", "--yes"),
]


@pytest.mark.sample(10)
@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_postgresql_away(workshed, env, words):
    env(DATABASE_URL="postgresql://ada:secret@127.0.0.1:9/shop")

    done = workshed(*words)

    assert (done.code, done.out) == (4, "")
    assert "PostgreSQL does not answer at 127.0.0.1:9/shop (WORKSHED_DATABASE_URL)" in done.err
    assert "Start it, correct the URL, or run `workshed dev`" in done.err
    assert "secret" not in done.err


@pytest.mark.sample(10)
@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_database_that_was_not_migrated(workshed, env, empty_database_url, words):
    env(DATABASE_URL=empty_database_url)

    done = workshed(*words)

    assert (done.code, done.out) == (2, "")
    assert "run `workshed migrate`" in done.err


@pytest.mark.parametrize("words", [*COMMANDS, ("broker", "check")], ids=" ".join)
def test_an_environment_that_cannot_be_read(workshed, env, words):
    env(POOL_SIZE="many", DATABSE_URL="x")

    done = workshed(*words)

    assert (done.code, done.out) == (2, "")
    assert "WORKSHED_POOL_SIZE: " in done.err
    assert "did you mean WORKSHED_DATABASE_URL?" in done.err


@pytest.mark.rabbitmq("RabbitMQ is away")
@pytest.mark.parametrize(
    "words",
    [
        ("broker", "check"),
        ("dead", "requeue", "bulk", "--yes"),
        ("queues", "purge", "bulk", "--yes"),
        ("queues", "--json"),
    ],
    ids=" ".join,
)
def test_rabbitmq_away(workshed, broker, monkeypatch, words):
    monkeypatch.setattr(broker, "urls", ["amqp://ada:secret@127.0.0.1:9/"])

    done = workshed(*words)

    assert done.code == 3
    assert "RabbitMQ does not answer at 127.0.0.1:9 (virtual host '/')" in done.err
    assert "secret" not in done.out + done.err


@pytest.mark.usefixtures("broker")
def test_a_user_without_rights(workshed, env, conn, database):
    conn.execute("CREATE ROLE ws_stranger LOGIN PASSWORD 'stranger'")
    try:
        parts = urlsplit(database)
        netloc = f"ws_stranger:stranger@{parts.hostname}:{parts.port}"
        env(DATABASE_URL=urlunsplit(parts._replace(netloc=netloc)))

        done = workshed("dead")
    finally:
        conn.execute(sql.SQL("DROP ROLE ws_stranger"))

    assert (done.code, done.out) == (1, "")
    assert "PostgreSQL refuses: permission denied for schema workshed" in done.err
    assert "`workshed roles` grants" in done.err


def test_it_prints_its_version(workshed):
    assert workshed("--version").out == f"workshed {__version__}\n"


def test_help_ends_with_the_exit_codes(workshed):
    out = " ".join(workshed("--help").out.split())

    assert "Exit codes: 0 done; 1 failed" in out
    assert "5 unknown id or name;" in out
