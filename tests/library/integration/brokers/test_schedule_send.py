"""`schedule.send` on every kind of connection: a job commits with the data, and only with it."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy
from django.db import connection as django_connection
from django.db import connections as django_connections
from django.db import transaction as django_transaction
from dramatiq.middleware import Middleware, MiddlewareError
from sqlalchemy import orm

import workshed
from tests.django_app import django_connected
from tests.library.integration.connection_kinds import of_driver, returned
from workshed import Batch, Unique, schedule
from workshed.errors import UnknownConnectionError, WorkshedError
from workshed.transport.batch import BatchError
from workshed.transport.errors import InvalidArgumentError
from workshed.transport.messages.envelope import decode_message
from workshed.transport.publishing.queue_depth import QueueDepthClient
from workshed.transport.relay.relay import Relay

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

ORDER = "INSERT INTO store.orders DEFAULT VALUES"


@pytest.fixture
def greet(actor):
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


@pytest.fixture
def stored(rows):
    """Return a function that lists the numbers that stored messages greet."""
    bodies = "SELECT body, queue FROM workshed.schedule ORDER BY body"
    return lambda: [decode_message(body.encode(), queue).args[0] for body, queue in rows(bodies)]


@contextlib.contextmanager
def relaying(broker):
    stop = threading.Event()
    publisher = QueueDepthClient(broker.urls, "relay")
    thread = threading.Thread(target=Relay(publisher, stop).run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        publisher.close()


def test_a_job_travels_when_the_data_commit_and_not_when_they_roll_back(
    begin, greet, shop, stored, broker, rabbitmq, eventually
):
    broker.ensure_queues({"default"})
    with begin(commit=False) as (conn, execute, wait):
        execute(ORDER)
        wait(schedule.send(conn, greet.message(1)))
    with begin() as (conn, execute, wait):
        execute(ORDER)
        sent = wait(schedule.send(conn, greet.message(2)))
        assert stored() == []  # not visible before the commit
    assert shop() == 1

    with relaying(broker):
        eventually(lambda: stored() == [])

    (found,) = rabbitmq.peek("default")
    message = decode_message(found["payload"].encode(), "default")
    assert (message.args, message.options) == ((2,), {"origin": "transaction"})
    assert message.message_id == sent.message_id == found["properties"]["message_id"]


def test_a_batch_is_created_in_it_too(begin, greet, rows):
    for commits in (False, True):
        batch = Batch(on_complete=greet, description="two")
        with begin(commit=commits) as (conn, _, wait):
            wait(batch.open(conn))
            wait(batch.add(conn, greet.message(1), greet.message(2), delay=timedelta(days=1)))
            assert wait(batch.close(conn))
            with pytest.raises(BatchError, match="closed"):
                wait(batch.add(conn, greet.message(3)))
            assert not wait(batch.close(conn))

    counts = "SELECT count(*) FROM workshed.batch_jobs WHERE batch_id = %s AND state = 'pending'"
    assert rows(counts, batch.id) == [(2,)]
    assert rows("SELECT count(*) FROM workshed.batches") == [(1,)]
    assert rows("SELECT count(*) FROM workshed.schedule WHERE due_at > workshed.now()") == [(2,)]
    with begin() as (conn, _, wait):
        assert wait(batch.cancel(conn))
    assert rows("SELECT count(*) FROM workshed.cancellations") == [(2,)]


async def add_in_block(batch, conn, *messages):
    async with batch.adding(conn):
        await batch.add(conn, *messages)


def test_a_batch_is_closed_after_the_block_that_adds_to_it(begin, greet, rows):
    batch = Batch()
    with begin() as (conn, _, wait):
        if wait is returned:
            with batch.adding(conn):
                batch.add(conn, greet.message(1))
        else:
            wait(add_in_block(batch, conn, greet.message(1)))
    assert rows("SELECT closed_at IS NOT NULL FROM workshed.batches") == [(True,)]


def test_the_wrong_kind_of_block_is_refused(begin):
    batch = Batch()
    with begin() as (conn, _, wait):
        if wait is returned:
            with pytest.raises(UnknownConnectionError, match="write `with batch"):
                asyncio.run(add_in_block(batch, conn))
        else:
            with (
                pytest.raises(UnknownConnectionError, match="write `async with"),
                batch.adding(conn),
            ):
                pass


def test_many_messages_are_stored_with_their_texts_as_they_are(begin, greet, rows):
    """They travel to PostgreSQL as one array of JSON texts."""
    texts = ['"', "\\", "\\u0000", "\0", "ä\u2028😀", "{1,2}", "NULL", "", "%s %(a)s", "'"]

    with begin() as (conn, _, wait):
        sent = wait(schedule.send_many(conn, [greet.message(text) for text in texts]))

    found = dict(rows("SELECT message_id, body FROM workshed.schedule"))
    bodies = [decode_message(found[one.message_id].encode(), "default") for one in sent]
    assert [body.args[0] for body in bodies] == texts


def test_a_typed_actor_is_sent_on_it_by_set(begin, actor, broker, shop, rows):
    greet = workshed.actor(name="greet_typed", broker=broker)(lambda number: None)
    at = datetime(2040, 1, 1, 9, 30, 0, 1, tzinfo=UTC)
    for commits in (False, True):
        with begin(commit=commits) as (conn, execute, wait):
            execute(ORDER)
            sent = [
                wait(greet.set(conn=conn).send(1)),
                wait(greet.set(conn=conn, delay=timedelta(days=3), tags=["a"]).send(2)),
                wait(greet.set(conn=conn, at=at, queue="low").send(3)),
            ]

    found = rows(
        "SELECT message_id, queue, reason, due_at - created_at, due_at FROM workshed.schedule "
        "ORDER BY due_at"
    )
    assert shop() == 1
    assert [row[:3] for row in found] == [
        (sent[0].message_id, "default", "transactional"),
        (sent[1].message_id, "default", "delayed"),
        (sent[2].message_id, "low", "delayed"),
    ]
    assert (found[0][3], found[1][3], found[2][4]) == (timedelta(), timedelta(days=3), at)
    assert sent[1].options["tags"] == ["a"]


def test_a_job_is_due_at_the_time_it_was_sent_for(begin, greet, rows):
    span = timedelta(days=3, microseconds=1)
    at = datetime(2040, 1, 1, 9, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    with begin() as (conn, _, wait):
        for when in ({}, {"delay": span}, {"at": at}):
            wait(schedule.send(conn, greet.message(0), **when))

    found = rows(
        "SELECT due_at - created_at, due_at, reason FROM workshed.schedule ORDER BY due_at"
    )
    (now, _, sent), (later, _, delayed), (_, at_last, dated) = found
    assert (now, later, at_last) == (timedelta(0), span, at)
    assert (sent, delayed, dated) == ("transactional", "delayed", "delayed")


def test_a_refused_message_leaves_the_transaction_as_it_was(begin, greet, shop, stored):
    with begin() as (conn, execute, wait):
        execute(ORDER)
        with pytest.raises(InvalidArgumentError):
            wait(schedule.send(conn, greet.message(datetime.now(UTC))))
        with pytest.raises(WorkshedError, match="not both"):
            wait(schedule.send(conn, greet.message(1), delay=timedelta(1), at=datetime.now(UTC)))
        wait(schedule.send(conn, greet.message(2)))

    assert (shop(), stored()) == (1, [2])


def test_many_are_stored_together_in_their_order(begin, greet, shop, rows):
    """More than fit into one statement; none of them is left if the data roll back."""
    numbers, later = list(range(1_201)), timedelta(days=1)
    for commits in (False, True):
        with begin(commit=commits) as (conn, execute, wait):
            execute(ORDER)
            sent = wait(schedule.send_many(conn, map(greet.message, numbers), delay=later))
            assert wait(schedule.send_many(conn, [])) == []

    assert shop() == 1
    assert [message.args[0] for message in sent] == numbers
    found = rows("SELECT message_id, due_at - created_at, reason, body FROM workshed.schedule")
    assert {message_id for message_id, *_ in found} == {one.message_id for one in sent}
    assert {(span, reason) for _, span, reason, _ in found} == {(later, "delayed")}
    [message] = {decode_message(body.encode(), "default").options["origin"] for *_, body in found}
    assert message == "transaction"


def test_if_one_of_many_is_refused_none_is_stored(begin, greet, stored):
    good = [greet.message(number) for number in range(600)]
    with begin() as (conn, _, wait):
        with pytest.raises(InvalidArgumentError):
            wait(schedule.send_many(conn, [*good, greet.message(datetime.now(UTC))]))
        with pytest.raises(WorkshedError, match="time zone"):
            wait(schedule.send_many(conn, good, at=datetime(2040, 1, 1)))  # noqa: DTZ001
        wait(schedule.send_many(conn, [greet.message(7)]))

    assert stored() == [7]


def test_of_many_with_one_key_the_first_is_stored(begin, actor, stored):
    job = actor(queue_name="default", actor_name="once", unique=Unique(key=["team"]))(
        lambda number, team: None
    )
    with begin() as (conn, _, wait):
        first, second, third = wait(
            schedule.send_many(
                conn, [job.message(1, "a"), job.message(2, "a"), job.message(3, "b")]
            )
        )

    assert sorted(stored()) == [1, 3]
    assert second.message_id == first.message_id != third.message_id


@pytest.fixture
def hooks(broker):
    """The sends that middleware saw; it vetoes number 13."""
    seen = []

    class Hooks(Middleware):
        def before_enqueue(self, broker, message, delay):
            seen.append(("before", message.args, delay))
            if message.args == (13,):
                raise MiddlewareError("unlucky")

        def after_enqueue(self, broker, message, delay):
            seen.append(("after", message.args, delay))

    before = list(broker.middleware)
    broker.add_middleware(Hooks())
    yield seen
    broker.middleware[:] = before
    broker._hooks.clear()


def test_middleware_sees_a_send_and_may_veto_it(begin, greet, stored, hooks):
    with begin() as (conn, _, wait):
        wait(schedule.send(conn, greet.message(1), delay=timedelta(seconds=2)))
        with pytest.raises(MiddlewareError, match="unlucky"):
            wait(schedule.send(conn, greet.message(13)))

    assert hooks == [("before", (1,), 2000), ("after", (1,), 2000), ("before", (13,), 0)]
    assert stored() == [1]


def test_a_send_that_postgresql_refuses_raises_and_is_not_enqueued(begin, greet, stored, hooks):
    message = greet.message(1)

    with begin(commit=False) as (conn, _, wait):
        wait(schedule.send(conn, message))
        with pytest.raises(Exception, match="schedule_key"):
            wait(schedule.send(conn, message))

    assert [when for when, *_ in hooks] == ["before", "after", "before"]


def test_in_autocommit_it_is_committed_at_once(database, greet, shop, stored, connect):
    engine = sqlalchemy.create_engine(of_driver(database, "psycopg"), isolation_level="AUTOCOMMIT")

    schedule.send(connect(autocommit=True), greet.message(1))
    with django_connected(database):
        schedule.send(django_connection, greet.message(2))
    with orm.Session(engine) as session:  # closed without a commit
        schedule.send(session, greet.message(3))
    engine.dispose()

    assert stored() == [1, 2, 3]


def test_a_savepoint_rolls_its_jobs_back(database, greet, stored):
    engine = sqlalchemy.create_engine(of_driver(database, "psycopg"))

    with django_connected(database), django_transaction.atomic():
        schedule.send(django_connection, greet.message(1))
        with contextlib.suppress(KeyError), django_transaction.atomic():
            schedule.send(django_connection, greet.message(13))
            raise KeyError
    with orm.Session(engine) as session:
        schedule.send(session, greet.message(2))
        nested = session.begin_nested()
        schedule.send(session, greet.message(14))
        nested.rollback()
        session.commit()
    engine.dispose()

    assert stored() == [1, 2]


def test_another_database_is_refused(database, greet):
    with django_connected(database), pytest.raises(UnknownConnectionError, match="is to sqlite"):
        schedule.send(django_connections["lite"], greet.message(1))

    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as conn, pytest.raises(UnknownConnectionError, match="workshed migrate"):
        schedule.send(conn, greet.message(1))
    engine.dispose()


class Other:
    """Not one of the kinds by name, but as good as a connection to duck typing."""

    vendor = "postgresql"

    def execute(self, query, values):
        raise AssertionError(query)

    cursor = connection = exec_driver_sql = execute


@pytest.mark.parametrize("given", [None, "postgresql://", Other(), django_connections])
def test_any_other_object_is_refused_with_a_list_of_kinds(given, greet):
    name = f"{type(given).__module__}.{type(given).__qualname__}"

    with pytest.raises(UnknownConnectionError) as refused:
        schedule.send(given, greet.message(1))

    assert isinstance(refused.value, TypeError)
    assert f"Workshed cannot write on {name}:" in str(refused.value)
    for kind in ("psycopg 3", "Django", "SQLAlchemy", "SELECT workshed.send(…)"):
        assert kind in str(refused.value)


def test_an_engine_is_refused_because_it_is_in_no_transaction(database, greet):
    engine = sqlalchemy.create_engine(of_driver(database, "psycopg"))

    with pytest.raises(UnknownConnectionError, match="Engine: give a Connection"):
        schedule.send(engine, greet.message(1))


def test_an_unsupported_driver_is_refused_before_anything_is_sent(database, greet, shop):
    engine = sqlalchemy.create_engine(of_driver(database, "psycopg"))
    engine.dialect.paramstyle = "format"  # as in pg8000

    with engine.connect() as conn:
        with pytest.raises(UnknownConnectionError, match="driver psycopg, only through"):
            schedule.send(conn, greet.message(1))
        conn.execute(sqlalchemy.text(ORDER))
        conn.commit()
    engine.dispose()

    assert shop() == 1


def test_a_proxy_counts_as_the_connection_it_wraps(greet, connect, stored):
    """Tracers wrap each connection in a proxy; by its type it would be refused."""

    class Proxy:
        def __init__(self, wrapped):
            self.wrapped = wrapped

        def __getattr__(self, name):
            return getattr(self.wrapped, name)

        @property
        def __class__(self):
            return self.wrapped.__class__

    schedule.send(Proxy(connect(autocommit=True)), greet.message(1))

    assert stored() == [1]


def test_neither_django_nor_sqlalchemy_is_imported():
    code = (
        "import sys, brokers\n"
        "found = {'asyncpg', 'django', 'psycopg2', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
