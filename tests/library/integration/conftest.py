"""Tests that run with RabbitMQ, and with PostgreSQL alone; what both have sent."""

import pytest

from tests.conftest import TRANSPORTS
from workshed.transport.messages.envelope import decode_message

ONLY_RABBITMQ = frozenset(
    [
        "alarm",
        "away",
        "blocked",
        "cluster",
        "full",
        "gone",
        "limited",
        "patience",
        "proxy",
        "rabbitmq",
        "start_relay",
        "stuck",
        "unanswered",
        "vhost",
    ]
)
"""Fixtures of tests that are about RabbitMQ."""


def pytest_generate_tests(metafunc):
    """Run the tests of a module with `ON_BOTH = True` with RabbitMQ, and with PostgreSQL alone.

    Those that use a fixture of RabbitMQ, or are marked `rabbitmq(why)`, run only there.
    """
    both = getattr(metafunc.module, "ON_BOTH", False)
    names = metafunc.fixturenames
    is_apart = any(one.name == "rabbitmq" for one in metafunc.definition.iter_markers())
    if both and "transport" in names and not is_apart and not ONLY_RABBITMQ.intersection(names):
        metafunc.parametrize("transport", TRANSPORTS, indirect=True)


@pytest.fixture
def rows(connect):
    """`rows("SELECT …")`: the rows of the database, read now."""
    conn = connect(autocommit=True)
    return lambda query, *values: conn.execute(query, values).fetchall()


@pytest.fixture
def count_jobs(request, transport, rows):
    """`count_jobs("default")`: how many jobs of a queue wait, and how many are with a worker."""
    if transport == "postgresql":
        query = """
            SELECT count(*) FILTER (WHERE claimed_by IS NULL AND due_at <= workshed.now()),
                   count(*) FILTER (WHERE claimed_by IS NOT NULL)
              FROM workshed.schedule
             WHERE queue = %s
        """
        return lambda queue: rows(query, queue)[0]
    rabbitmq = request.getfixturevalue("rabbitmq")

    def count(queue):
        found = rabbitmq.queues().get(queue, {})
        return found.get("messages_ready", 0), found.get("messages_unacknowledged", 0)

    return count


@pytest.fixture
def peek(request, transport, rows):
    """`peek("default")`: the messages that wait in a queue, in the order in which they run."""
    if transport == "postgresql":
        query = """
            SELECT body FROM workshed.schedule
             WHERE queue = %s AND claimed_by IS NULL AND due_at <= workshed.now()
             ORDER BY priority DESC, due_at
        """
        return lambda queue: [
            decode_message(body.encode(), queue) for (body,) in rows(query, queue)
        ]
    rabbitmq = request.getfixturevalue("rabbitmq")

    def peek(queue):
        found = rabbitmq.peek(queue, 10_000) if queue in rabbitmq.queues() else []
        return [decode_message(one["payload"].encode(), queue) for one in found]

    return peek


@pytest.fixture
def has_sent(request, transport, rows):
    """`has_sent()`: whether the test has sent anything; it made no queue of RabbitMQ itself."""
    if transport == "postgresql":
        return lambda: rows("SELECT 1 FROM workshed.schedule") != []
    rabbitmq = request.getfixturevalue("rabbitmq")
    return lambda: rabbitmq.queues() != {}
