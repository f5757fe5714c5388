"""`workshed.actor` with real servers: `set` without a connection, pipelines, `around_perform=`."""

import asyncio
import contextlib
import threading
from datetime import UTC, datetime, timedelta

import pytest
from dramatiq.middleware import TimeLimitExceeded

import workshed
from workshed import db
from workshed.jobs import context

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture
def typed(actor, broker):
    """Declare a typed actor for this test."""
    return lambda **options: workshed.actor(broker=broker, **options)


@pytest.fixture
def greet(typed):
    return typed(name="greet")(lambda number: None)


@pytest.fixture
def due(rows):
    """Return the rows of the schedule, the next one first."""
    return lambda: rows(
        "SELECT queue, reason, due_at, body::jsonb -> 'options' FROM workshed.schedule "
        "ORDER BY due_at"
    )


def test_a_job_may_be_due_at_a_time_or_after_a_delay(greet, due):
    at = datetime(2040, 1, 1, 9, 30, 0, 1, tzinfo=UTC)

    greet.set(at=at).send(1)
    greet.set(delay=timedelta(days=3)).send(2)

    (_, delayed, later, _), (_, dated, exactly, options) = due()
    assert (delayed, dated, exactly) == ("delayed", "delayed", at)
    assert timedelta(days=2) < later - datetime.now(UTC) < timedelta(days=4)
    # Not sent with the sender's data, which may not have committed when the job starts.
    assert "origin" not in options


def test_in_a_job_that_runs_once_it_commits_with_the_job(greet, rows):
    with contextlib.suppress(KeyError), db.transaction() as conn, db.join_transaction(conn):
        greet.set(at=datetime(2040, 1, 1, tzinfo=UTC)).send(1)
        raise KeyError

    assert rows("SELECT count(*) FROM workshed.schedule") == [(0,)]


def test_a_job_goes_to_the_queue_and_with_the_priority_that_set_gives(typed, rabbitmq):
    greet = typed(name="greet", queue="emails", priority=3)(lambda number: None)

    greet.set(priority=4).send(1)
    greet.set(queue="low").send(2)

    [found] = rabbitmq.peek("emails")
    assert found["properties"]["priority"] == 4
    [found] = rabbitmq.peek("low")
    assert found["properties"]["type"] == "greet"
    assert found["properties"]["priority"] == 0


def test_a_pipeline_passes_each_result_as_the_first_argument(typed, working, relaying, eventually):
    seen = []

    @typed()
    def read(path):
        return path * 2

    @typed()
    def join(text, folder, *, name):
        return f"{folder}/{text}/{name}"

    @typed()
    def keep(path):
        seen.append(path)

    with working("default"), relaying():
        (read.message("a") | join.piped("inbox", name="x") | keep.piped()).run()
        eventually(lambda: seen)

    assert seen == ["inbox/aa/x"]


def test_a_worker_runs_a_job_inside_its_hooks_with_its_message(typed, working, eventually):
    seen, ended = [], threading.Event()

    @contextlib.contextmanager
    def around(message):
        seen.append((message.message_id, message.options["tags"]))
        try:
            yield
        finally:
            seen.append("after")
            ended.set()

    @typed(around_perform=around, tags=["a"])
    def greet(number):
        seen.append(context.current_job().message_id)

    with working("default"):
        sent = greet.send(7)
        assert ended.wait(60)

    assert seen == [(sent.message_id, ["a"]), sent.message_id, "after"]


def test_an_async_job_runs_inside_async_hooks_with_its_message(typed, working):
    seen, ended = [], threading.Event()

    @contextlib.asynccontextmanager
    async def around(message):
        seen.append(message.message_id)
        await asyncio.sleep(0)
        yield
        ended.set()

    @typed(around_perform=around)
    async def greet(number):
        seen.append(context.current_job().message_id)

    with working("default"):
        sent = greet.send(7)
        assert ended.wait(60)

    assert seen == [sent.message_id] * 2


def test_the_time_limit_interrupts_a_hook_too(typed, working, rows, eventually):
    seen = []

    @contextlib.contextmanager
    def around(message):
        try:
            while True:
                pass
        except TimeLimitExceeded:
            seen.append("interrupted")
            raise
        yield

    @typed(around_perform=around, time_limit=timedelta(milliseconds=100), max_retries=0)
    def greet(number):
        seen.append("ran")

    with working("default", threads=1):
        greet.send(7)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert seen == ["interrupted"]


def test_an_error_of_a_hook_fails_the_job(typed, working, rows, eventually):
    def around(message):
        raise LookupError(message.args[0])

    @typed(around_perform=around, max_retries=0)
    def greet(name):
        """Never runs."""

    with working("default", threads=1):
        greet.send("ada")
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    [(error,)] = rows("SELECT error_class FROM workshed.attempts")
    assert error == "LookupError"
