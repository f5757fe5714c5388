"""What a job and its application write in one transaction, on every kind of connection."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import sqlalchemy
from django.db import connection as django_connection
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio

from tests.django_app import django_connected
from tests.library.integration.connection_kinds import of_driver, returned
from workshed import Batch, db, once, schedule
from workshed.contrib.sqlalchemy import session_on
from workshed.errors import UnknownConnectionError, WorkshedError
from workshed.jobs import OpenTransactionError, context, step

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

AT = datetime(2040, 1, 1, 9, 30, 0, 1, tzinfo=UTC)


class Running:
    """The attributes of a job that these functions read."""

    cancelled = made_progress = is_stopping = False
    scheduled_for = sent_at = None
    actor = "count"
    message_id = "m"


@pytest.fixture
def running():
    """A job that this thread runs."""
    context.enter_job(Running())
    yield
    context.leave_job()


@pytest.fixture
def greet(actor):
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


def test_a_key_is_new_once_and_only_if_its_transaction_commits(begin, running, rows):
    for commits in (False, True):
        with begin(commit=commits) as (conn, _, wait):
            assert wait(once(conn, "charge 7")) is True
            assert wait(once(conn, "charge 7")) is False
            assert wait(once(conn, "charge 8 %s")) is True

    with begin() as (conn, _, wait):
        assert wait(once(conn, "charge 7")) is False
    found = rows("SELECT scope, key, message_id FROM workshed.once_keys ORDER BY key")
    assert found == [("count", "charge 7", "m"), ("count", "charge 8 %s", "m")]


def test_outside_a_job_there_is_no_actor_whose_key_it_could_be(begin):
    with begin() as (conn, _, _), pytest.raises(WorkshedError, match="inside a job"):
        once(conn, "charge 7")


def test_a_waiting_job_is_moved_and_sent_at_once_with_the_data(begin, greet, rows):
    due = "SELECT due_at = %s, due_at <= workshed.now() FROM workshed.schedule"
    with begin() as (conn, _, wait):
        sent = wait(schedule.send(conn, greet.message(1), delay=timedelta(days=3)))

    for commits in (False, True):
        with begin(commit=commits) as (conn, _, wait):
            assert wait(schedule.move(conn, sent.message_id, AT)) == "moved"
        assert rows(due, AT) == [(commits, False)]
    for commits in (False, True):
        with begin(commit=commits) as (conn, _, wait):
            assert wait(schedule.run_now(conn, sent.message_id)) == "moved"
        assert rows(due, AT) == [(not commits, commits)]
    with begin() as (conn, _, wait):
        assert wait(schedule.run_now(conn, "never sent")) == "unknown"
        with pytest.raises(ValueError, match="time zone"):
            wait(schedule.move(conn, sent.message_id, AT.replace(tzinfo=None)))
    claim = "UPDATE workshed.schedule SET claimed_by = gen_random_uuid(), claimed_at = now()"
    rows(f"{claim} RETURNING 1")
    with begin() as (conn, _, wait):
        assert wait(schedule.move(conn, sent.message_id, AT)) == "on its way"


def test_a_job_is_cancelled_with_the_data_or_not_at_all(begin, greet, rows):
    count = "SELECT count(*) FROM workshed.schedule"
    with begin() as (conn, _, wait):
        sent = wait(schedule.send(conn, greet.message(1), delay=timedelta(days=3)))

    with begin(commit=False) as (conn, _, wait):
        assert wait(schedule.cancel(conn, sent.message_id)) == "deleted"
    assert rows(count) == [(1,)]
    with begin() as (conn, _, wait):
        assert wait(schedule.cancel(conn, sent.message_id)) == "deleted"
        assert wait(schedule.cancel(conn, "sent without a row")) == "will be skipped"

    assert rows(count) == [(0,)]
    found = rows("SELECT message_id, may_be_delivered FROM workshed.cancellations ORDER BY 1")
    assert sorted(found) == sorted([(sent.message_id, False), ("sent without a row", True)])
    rows("UPDATE workshed.cancellations SET notified_at = workshed.now() RETURNING 1")
    with begin() as (conn, _, wait):
        assert wait(schedule.cancel(conn, "sent without a row")) == "asked to stop"


def test_a_cursor_is_saved_with_what_it_stands_for(begin, running, shop, rows, connect):
    def import_orders(progress):
        for commits in (False, True):
            with begin(commit=commits) as (conn, execute, wait):
                execute("INSERT INTO store.orders DEFAULT VALUES")
                wait(progress.save(conn, {"after": [7, "\U0001f600 %"]}))
            assert saved() == [({"after": [7, "\U0001f600 %"]} if commits else None, False)]

    def saved():
        return rows("SELECT cursor, done FROM workshed.steps")

    step("import", import_orders)

    assert shop() == 1
    assert saved() == [({"after": [7, "\U0001f600 %"]}, True)]


def test_a_cursor_of_another_run_is_not_saved_and_the_data_are_not_either(
    begin, running, shop, rows
):
    def import_orders(progress):
        rows("UPDATE workshed.steps SET owner = gen_random_uuid() RETURNING 1")
        with begin(commit=False) as (conn, execute, wait):
            execute("INSERT INTO store.orders DEFAULT VALUES")
            with pytest.raises(
                Exception, match=("another run of this job has started step 'import'")
            ):
                wait(progress.save(conn, 7))
        rows("UPDATE workshed.steps SET owner = %s RETURNING 1", progress._owner)

    step("import", import_orders)

    assert shop() == 0


def test_an_async_actor_calls_a_step_in_the_thread_of_its_job(
    actor, database, shop, working, rows, eventually
):
    """Its function is a plain one, in which asynchronous code can save the cursor, too."""

    async def import_first(progress):
        async with await psycopg.AsyncConnection.connect(database) as conn:
            await conn.execute("INSERT INTO store.orders DEFAULT VALUES")
            await progress.save(conn, 1)

    def import_orders(progress):
        asyncio.run(import_first(progress))
        with progress.transaction() as conn:
            conn.execute("INSERT INTO store.orders DEFAULT VALUES")
            progress.cursor += 1

    @actor(queue_name="default", max_retries=0)
    async def import_all():
        await db.run_in_job_thread(step, "import", import_orders)

    with working("default"):
        import_all.send()
        eventually(lambda: rows("SELECT cursor, done FROM workshed.steps") == [(2, True)])

    assert shop() == 2


@contextlib.contextmanager
def psycopg_autocommit(url):
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn, returned


@contextlib.contextmanager
def async_psycopg_autocommit(url):
    with asyncio.Runner() as runner:
        connecting = psycopg.AsyncConnection.connect(url, autocommit=True)
        conn = runner.run(connecting)
        yield conn, runner.run
        runner.run(conn.close())


@contextlib.contextmanager
def django_autocommit(url):
    with django_connected(url):
        yield django_connection, returned


def sqlalchemy_autocommit(driver, find):
    @contextlib.contextmanager
    def opened(url):
        engine = sqlalchemy.create_engine(of_driver(url, driver), isolation_level="AUTOCOMMIT")
        with contextlib.closing(find(engine)) as conn:
            yield conn, returned
        engine.dispose()

    return opened


@contextlib.contextmanager
def asyncpg_autocommit(url):
    with asyncio.Runner() as runner:
        engine = sqlalchemy_asyncio.create_async_engine(
            of_driver(url, "asyncpg"), isolation_level="AUTOCOMMIT"
        )
        session = sqlalchemy_asyncio.AsyncSession(engine)
        yield session, runner.run
        runner.run(session.close())
        runner.run(engine.dispose())


AUTOCOMMIT = {
    "psycopg": psycopg_autocommit,
    "psycopg async": async_psycopg_autocommit,
    "django": django_autocommit,
    "sqlalchemy connection": sqlalchemy_autocommit("psycopg", lambda engine: engine.connect()),
    "sqlalchemy session": sqlalchemy_autocommit("psycopg2", orm.Session),
    "sqlalchemy async session": asyncpg_autocommit,
}


@pytest.mark.parametrize("opened", AUTOCOMMIT.values(), ids=AUTOCOMMIT)
@pytest.mark.parametrize(
    "write",
    [
        lambda conn, progress: progress.save(conn, 7),
        lambda conn, progress: once(conn, "charge 7"),
        lambda conn, progress: schedule.cancel(conn, "m"),
        lambda conn, progress: Batch().add(conn),
    ],
    ids=["save", "once", "cancel", "add"],
)
def test_what_belongs_to_a_transaction_is_refused_without_one(
    database, running, opened, write, rows
):
    """It would commit before the work that it belongs to, and stay if that fails."""

    def import_orders(progress):
        with (
            opened(database) as (conn, wait),
            pytest.raises(OpenTransactionError, match="has none open"),
        ):
            wait(write(conn, progress))

    step("import", import_orders)

    assert rows("SELECT cursor FROM workshed.steps") == [(None,)]
    assert rows("SELECT 1 FROM workshed.once_keys") == []
    assert rows("SELECT 1 FROM workshed.cancellations") == []


def test_in_autocommit_a_block_of_psycopg_is_a_transaction(database, running, connect, rows):
    conn = connect(autocommit=True)
    with conn.transaction():
        assert once(conn, "charge 7")
        with session_on(conn) as session:
            assert not once(session, "charge 7")

    assert rows("SELECT key FROM workshed.once_keys") == [("charge 7",)]


def test_a_session_to_another_database_system_is_refused_by_name(database, running):
    with orm.Session(sqlalchemy.create_engine("sqlite://")) as session:
        for use in (
            lambda: once(session, "charge 7"),
            lambda: schedule.cancel(session, "m"),
            lambda: schedule.run_now(session, "m"),
        ):
            with pytest.raises(UnknownConnectionError, match="is to sqlite"):
                use()


@pytest.mark.parametrize(
    "use",
    [
        lambda conn, progress: once(conn, "charge 7"),
        lambda conn, progress: schedule.cancel(conn, "m"),
        lambda conn, progress: schedule.run_now(conn, "m"),
        lambda conn, progress: schedule.move(conn, "m", AT),
        lambda conn, progress: progress.save(conn, 7),
    ],
    ids=["once", "cancel", "run_now", "move", "save"],
)
def test_anything_else_is_refused_by_name(database, running, use):
    def refused(progress):
        with pytest.raises(UnknownConnectionError, match=r"cannot write on builtins\.str: give"):
            use(database, progress)

    step("import", refused)
