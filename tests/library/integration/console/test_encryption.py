"""`workshed doctor`: whether traffic that leaves this host can be read on the way."""

import pytest

from workshed.console.doctor import CHECKS, build_context, run_checks


@pytest.fixture
def tls():
    """`tls("RabbitMQ")`: the findings of its TLS check, which connects to nothing."""

    def run(server):
        one = [check for check in CHECKS if check.name == f"{server} TLS"]
        [finding] = run_checks(build_context(("tests.library.actors",), 1, 8), one)[f"{server} TLS"]
        return finding

    return run


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("amqp://ada:secret@mq.example.org/", "warning"),
        ("amqp://ada:secret@10.0.0.7:5672/", "warning"),
        ("amqp://ada:secret@127.0.0.1/;amqp://ada:secret@mq.example.org/", "warning"),
        ("amqps://ada:secret@a.example.org/;amqp://ada:secret@mq.example.org/", "warning"),
        ("amqps://ada:secret@mq.example.org/", "ok"),
        ("amqp://ada:secret@127.0.0.1:5672/", "ok"),
        ("amqp://ada:secret@[::1]:5672/", "ok"),
        ("amqp://ada:secret@localhost/", "ok"),
        ("stub://", "ok"),
    ],
)
def test_jobs_that_leave_the_host_unencrypted(tls, env, url, level):
    """An eavesdropper could read them, and the password that allows sending others."""
    env(BROKER_URL=url)

    found = tls("RabbitMQ")

    assert found.level == level
    assert "secret" not in found.message + found.fix
    if level == "warning":
        host = "10.0.0.7" if "10.0.0.7" in url else "mq.example.org"
        assert found.message.endswith(f"unencrypted to {host}")
        assert found.fix.startswith("export WORKSHED_BROKER_URL=amqps://")


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("http://ada:secret@mq.example.org:15672", "warning"),
        ("https://ada:secret@mq.example.org:15671?cacertfile=/etc/ca.pem", "ok"),
        ("http://ada:secret@127.0.0.1:15672", "ok"),
        ("", "ok"),
    ],
)
def test_a_password_of_the_management_api_that_leaves_the_host_unencrypted(tls, env, url, level):
    env(MANAGEMENT_URL=url)

    found = tls("management")

    assert found.level == level
    assert "secret" not in found.message + found.fix
    if level == "warning":
        assert found.message.endswith("unencrypted to mq.example.org")
        assert found.fix.startswith("export WORKSHED_MANAGEMENT_URL='https://")


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("postgresql://ada:secret@db.example.org/shop", "warning"),
        ("postgresql://ada:secret@db.example.org/shop?sslmode=prefer", "warning"),
        ("postgresql://ada:secret@127.0.0.1,db.example.org/shop", "warning"),
        ("postgresql://ada:secret@/shop?hostaddr=10.0.0.7", "warning"),
        ("postgresql://ada:secret@db.example.org/shop?sslmode=require", "ok"),
        ("postgresql://ada:secret@db.example.org/shop?sslmode=verify-full", "ok"),
        ("postgresql://ada:secret@localhost/shop", "ok"),
        ("postgresql://ada:secret@[::1]/shop", "ok"),
        ("postgresql://ada:secret@%2Fvar%2Frun%2Fpostgresql/shop", "ok"),
        ("postgresql:///shop", "ok"),
    ],
)
def test_rows_that_leave_the_host_unencrypted(tls, env, url, level):
    env(DATABASE_URL=url)

    found = tls("PostgreSQL")

    assert found.level == level
    assert "secret" not in found.message + found.fix
    if level == "warning":
        assert "sslmode=prefer may send rows and the password unencrypted to" in found.message
        assert "sslmode=verify-full" in found.fix


def test_libpqs_own_variables_count(tls, env, monkeypatch):
    monkeypatch.setenv("PGHOST", "db.example.org")
    env(DATABASE_URL="postgresql:///shop")
    assert tls("PostgreSQL").level == "warning"

    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert tls("PostgreSQL").level == "ok"
