"""Asynchronous sessions of SQLAlchemy in the transaction of a job."""

import asyncio
import contextlib
import logging
import sys
import threading
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import orm
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)

from workshed import Batch, db, once, schedule
from workshed.contrib.sqlalchemy import async_job_session, async_lending, job_session
from workshed.errors import OpenTransactionError, UnknownConnectionError
from workshed.middleware import RetryOn
from workshed.settings import settings

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


class Base(orm.DeclarativeBase):
    """The models of the application."""


class Order(Base):
    """A row that jobs add, with columns that the dialect has to convert."""

    __tablename__ = "orders"
    __table_args__ = {"schema": "store"}  # noqa: RUF012 -- as SQLAlchemy wants it

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    number: orm.Mapped[int] = orm.mapped_column(unique=True)
    details: orm.Mapped[dict] = orm.mapped_column(sqlalchemy.JSON, default=dict)


DAYS = timedelta(days=3)
SESSIONS = async_sessionmaker(expire_on_commit=False)
SLEEP = sqlalchemy.text("SELECT pg_sleep(600)")
PID = sqlalchemy.text("SELECT pg_backend_pid()")


@pytest.fixture
def orders(connect):
    """`orders()`: the numbers of the stored orders."""
    conn = connect(autocommit=True)
    conn.execute(
        "CREATE SCHEMA store CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY, "
        "number bigint UNIQUE, details json)"
    )
    return lambda: [n for (n,) in conn.execute("SELECT number FROM store.orders ORDER BY 1")]


@pytest.fixture
def log(actor):
    """An actor on a queue that the test's worker does not consume."""
    return actor(queue_name="low", actor_name="log")(lambda number: None)


@pytest.fixture
def order(actor, log):
    """An actor that stores an order once, sends jobs, and then awaits `order.then()`."""

    @actor(queue_name="default", once=True, retry_on=RetryOn(OSError, attempts=3), min_backoff=1)
    async def order(number):
        async with async_job_session(SESSIONS) as session:
            session.add(Order(number=number, details={"of": [number, "ä"]}))
            await schedule.send(session, log.message(number), delay=DAYS)
        log.send(number)
        await log.broker.send_async(log.message(number))
        await order.then()

    order.then = nothing
    return order


async def nothing():
    pass


def test_copies_of_an_async_job_write_once(order, orders, publish_twice, rows):
    publish_twice(order.message(1), orders)

    assert orders() == [1]
    assert rows("SELECT scope FROM workshed.once_keys") == [("order",)]
    assert rows("SELECT actor FROM workshed.schedule") == [("log",)] * 3
    assert rows("SELECT details FROM store.orders") == [({"of": [1, "ä"]},)]


def test_a_run_that_fails_after_the_block_leaves_nothing(order, orders, working, rows, eventually):
    """Neither its row, nor the jobs that it sent in the three ways."""

    async def fail():
        raise OSError("no")

    order.then = fail
    with working("default"):
        order.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule"))

    assert orders() == rows("SELECT 1 FROM workshed.once_keys") == []
    assert rows("SELECT actor FROM workshed.schedule") == [("order",)]  # the retry, and no `log`


def test_a_block_outside_a_job_is_a_transaction(database, orders):
    async def write(*numbers):
        async with async_job_session(SESSIONS) as session:
            session.add_all([Order(number=number) for number in numbers])

    asyncio.run(write(1))
    with pytest.raises(IntegrityError):
        asyncio.run(write(2, 1))

    assert orders() == [1]


def test_a_batch_and_a_key_are_part_of_the_transaction(
    actor, orders, log, working, eventually, counted, rows
):
    @actor(queue_name="default", max_retries=1, min_backoff=1)
    async def charge(number):
        async with async_job_session(SESSIONS) as session:
            if await once(session, f"charge {number}"):
                session.add(Order(number=number))
                async with Batch().adding(session) as batch:
                    await batch.add(session, log.message(number))

    labels = {"actor": "charge", "queue": "default", "outcome": "succeeded"}
    before = counted("jobs_total", **labels)
    with working("default"):
        charge.send(7)
        charge.send(7)
        eventually(lambda: counted("jobs_total", **labels) == before + 2)

    assert orders() == [7]
    assert rows("SELECT count(*) FROM workshed.batches") == [(1,)]


def test_commits_rollbacks_and_savepoints_stay_in_the_transaction(database, orders):
    async def write():
        async with async_job_session(SESSIONS) as session:
            session.add(Order(number=1))
            await session.commit()
            session.add(Order(number=2))
            await session.flush()
            await session.rollback()
            session.add(Order(number=3))
            with pytest.raises(IntegrityError):
                async with session.begin_nested():
                    session.add(Order(number=1))
            assert orders() == []  # not visible before the commit

    asyncio.run(write())

    assert orders() == [1, 3]


def test_rows_are_streamed_by_a_cursor_of_the_server(database, orders):
    async def read():
        async with async_job_session(SESSIONS) as session:
            query = sqlalchemy.text("SELECT generate_series(1, 5000)")
            return [number async for number in await session.stream_scalars(query)]

    assert asyncio.run(read()) == list(range(1, 5001))


def test_sessions_of_a_job_without_once_are_transactions_of_their_own(
    actor, orders, working, eventually
):
    """They alternate in the thread of the job, and end in another order than they began."""

    async def write(number, written, go_on):
        async with async_job_session(SESSIONS) as session:
            session.add(Order(number=number))
            await session.flush()
            written.set()
            await go_on.wait()

    @actor(queue_name="default", max_retries=0)
    async def two():
        first, second, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            earlier = group.create_task(write(1, first, second))
            await first.wait()
            group.create_task(write(2, second, over))
            await earlier
            over.set()

    @actor(queue_name="default", max_retries=0)
    def third():
        with job_session() as session:
            session.add(Order(number=3))

    with working("default", threads=1):
        two.send()
        eventually(lambda: orders() == [1, 2])
        third.send()  # in the same thread, which is in no transaction any more
        eventually(lambda: orders() == [1, 2, 3])


def test_the_event_loop_goes_on_during_a_query(actor, orders, working, eventually, connect):
    """Two jobs of one loop: the first waits for a lock that the test holds."""
    ran = threading.Event()

    @actor(queue_name="default", once=True, max_retries=0)
    async def write(number):
        async with async_job_session(SESSIONS) as session:
            session.add(Order(number=number))

    @actor(queue_name="default", max_retries=0)
    async def run():
        ran.set()

    holder = connect()
    holder.execute("LOCK TABLE store.orders")
    with working("default"):
        write.send(1)
        eventually(lambda: waits_for_lock(connect))
        run.send()
        assert ran.wait(60)
        holder.rollback()
        eventually(lambda: orders() == [1])


def waits_for_lock(connect):
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return connect(autocommit=True).execute(query).fetchone()


def test_a_time_limit_interrupts_a_query(actor, orders, working, rows, eventually):
    pids = []

    @actor(queue_name="default", time_limit=1_000, max_retries=0, once=True)
    async def wait():
        async with async_job_session(SESSIONS) as session:
            session.add(Order(number=1))
            pids.append(await session.scalar(PID))
            await session.execute(SLEEP)

    with working("default"):
        wait.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        query = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s"
        assert rows(query, pids[0]) in ([], [(False,)])

    assert rows("SELECT error_class FROM workshed.dead") == [("TimeLimitExceeded",)]
    assert orders() == []


def test_postgresql_itself_ends_a_query_soon_after_the_limit(actor, working, eventually):
    found = []

    @actor(queue_name="default", time_limit=10_000, max_retries=0)
    async def look():
        async with async_job_session() as session:
            query = "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'"
            found.append(await session.scalar(sqlalchemy.text(query)))

    with working("default"):
        look.send()
        eventually(lambda: found)

    assert 5_000 < int(found[0]) <= 15_000


def test_a_job_goes_on_after_it_has_cancelled_a_query(actor, orders, working, rows, eventually):
    """Its connection is not lost: what it wrote before is part of the transaction."""
    pids = []

    @actor(queue_name="default", max_retries=0, once=True)
    async def give_up():
        async with async_job_session(SESSIONS) as session:
            session.add(Order(number=1))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3), async_job_session(SESSIONS) as session:
                session.add(Order(number=2))
                pids.append(await session.scalar(PID))
                await session.execute(SLEEP)
        async with async_job_session(SESSIONS) as session:
            session.add(Order(number=3))
            pids.append(await session.scalar(PID))

    with working("default"):
        give_up.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.once_keys"))

    assert pids[0] == pids[1]
    assert orders() == [1, 3]


def test_a_connection_whose_query_could_not_be_cancelled_is_closed(
    wire_to_postgresql, connect, eventually, monkeypatch
):
    """PostgreSQL may get the request later, and would cancel what comes next on the connection."""
    tried, pids = threading.Event(), []
    monkeypatch.setattr(async_lending, "CANCEL_S", 0.2)
    cancel_safe = db.InterruptibleConnection.cancel_safe

    def try_to_cancel(conn, **options):
        try:
            cancel_safe(conn, **options)
        finally:
            tried.set()

    monkeypatch.setattr(db.InterruptibleConnection, "cancel_safe", try_to_cancel)
    holder = connect()
    holder.execute("SELECT pg_advisory_xact_lock(7)")

    async def wait():
        async with async_job_session() as session:
            pids.append(await session.scalar(PID))
            await session.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(7)"))

    async def give_up():
        task = asyncio.create_task(wait())
        await asyncio.to_thread(eventually, lambda: waits_for_lock(connect))
        wire_to_postgresql.stall("up")
        task.cancel()
        await asyncio.to_thread(tried.wait, 60)
        wire_to_postgresql.resume()
        holder.rollback()  # the query ends
        await asyncio.wait([task], timeout=60)
        assert task.cancelled()

    asyncio.run(give_up())

    with db.transaction() as conn:
        assert conn.execute("SELECT pg_backend_pid()").fetchone() != (pids[0],)


@pytest.fixture
def wire_to_postgresql(proxy, servers, database, monkeypatch):
    """A proxy for the connections of the pool."""
    wire = proxy(servers.database_url)
    monkeypatch.setenv("WORKSHED_DATABASE_URL", wire.url(database))
    settings.cache_clear()
    db.forget_pool()
    return wire


def test_a_coroutine_that_outlives_its_job_writes_nothing_more(
    actor, orders, working, rows, eventually
):
    """Its connection is back in the pool by then, and may be that of another job."""
    refused = []

    @actor(queue_name="default", time_limit=1_000, max_retries=0, once=True)
    async def stay():
        with pytest.raises(OpenTransactionError):  # as it leaves the block
            async with async_job_session(SESSIONS) as session:
                await stay_after_the_end(session)
        with pytest.raises(OpenTransactionError, match="the job of this task has ended") as err:
            async with async_job_session(SESSIONS) as session:
                session.add(Order(number=3))
        refused.append(err)

    async def stay_after_the_end(session):
        session.add(Order(number=1))
        await session.flush()
        await outlive(lambda: rows("SELECT 1 FROM workshed.dead"))
        session.add(Order(number=2))
        with pytest.raises(InvalidRequestError):
            await session.flush()

    with working("default"):
        stay.send()
        eventually(lambda: refused)
        with db.transaction() as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)

    assert orders() == []
    assert rows("SELECT error_class FROM workshed.dead") == [("TimeLimitExceeded",)]


async def outlive(is_over):
    while not is_over():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("runs_once", "outer"),
    [
        (True, contextlib.nullcontext),
        (False, contextlib.nullcontext),
        (False, async_job_session),  # the task then has another thread than that of the job
    ],
)
def test_a_task_that_a_job_does_not_await_makes_it_fail(
    runs_once, outer, actor, orders, working, rows, eventually
):
    """What its session has written so far would be part of the job, and the rest would be lost."""
    tasks = []

    async def write(written):
        async with async_job_session(SESSIONS) as session:
            session.add(Order(number=1))
            await session.flush()
            written.set()
            await asyncio.sleep(60)

    @actor(queue_name="default", max_retries=0, once=runs_once)
    async def leave():
        written = asyncio.Event()
        async with outer():
            tasks.append(asyncio.create_task(write(written)))
            await written.wait()

    with working("default"):
        leave.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        eventually(has_all_connections)

    assert rows("SELECT error_class FROM workshed.dead") == [("OpenTransactionError",)]
    assert orders() == []


def has_all_connections():
    stats = db.get_pool().get_stats()
    return stats["pool_available"] == stats["pool_size"]


def in_job(actor, working, eventually, body, **options):
    """Run `body` as an async job, and return the error that it raised, if any."""
    ended = []

    @actor(queue_name="default", max_retries=0, actor_name="in_job", **options)
    async def run():
        try:
            await body()
        except BaseException as err:
            ended.append(err)
            raise
        ended.append(None)

    with working("default"):
        run.send()
        eventually(lambda: ended)
    return ended[0]


def test_the_transaction_of_the_job_is_refused_on_the_event_loop(actor, working, eventually):
    async def body():
        with db.transaction():
            pass

    err = in_job(actor, working, eventually, body, once=True)

    assert isinstance(err, OpenTransactionError)
    assert "run_in_job_thread" in f"{err}"


def test_it_is_refused_in_other_threads_too(actor, working, eventually):
    def write():
        with db.transaction():
            pass

    err = in_job(actor, working, eventually, lambda: asyncio.to_thread(write), once=True)

    assert isinstance(err, OpenTransactionError)


def test_a_function_in_the_thread_of_the_job_writes_in_its_transaction(
    actor, orders, working, rows, eventually
):
    def write(number):
        with job_session() as session:
            session.add(Order(number=number))

    @actor(queue_name="default", max_retries=0, once=True)
    async def order():
        await db.run_in_job_thread(write, 1)
        assert orders() == []

    with working("default"):
        order.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.once_keys"))

    assert orders() == [1]


def test_two_sessions_at_once_in_one_transaction_are_refused(actor, working, eventually):
    async def body():
        async with async_job_session(), async_job_session():
            pass

    err = in_job(actor, working, eventually, body, once=True)

    assert isinstance(err, OpenTransactionError)
    assert "pass its session on" in f"{err}"


def test_two_tasks_with_one_session_are_refused_by_sqlalchemy(database, orders):
    async def body():
        async with async_job_session() as session:
            both = (session.scalar(PID) for _ in range(2))
            return await asyncio.gather(*both, return_exceptions=True)

    first, second = asyncio.run(body())

    assert isinstance(first, int)
    assert isinstance(second, InvalidRequestError)
    assert "concurrent operations are not permitted" in f"{second}"


def test_in_an_open_transaction_a_session_of_its_own_is_refused(database):
    async def body():
        with db.transaction():
            async with async_job_session():
                pass

    with pytest.raises(OpenTransactionError, match="transaction of its own"):
        asyncio.run(body())


def test_an_actor_that_is_not_async_is_refused(actor, working, rows, eventually):
    async def body():
        async with async_job_session():
            pass

    @actor(queue_name="default", max_retries=0, once=True)
    def run():
        asyncio.run(body())

    with working("default"):
        run.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert rows("SELECT error_class FROM workshed.dead") == [("OpenTransactionError",)]


class ElsewhereSession(orm.Session):
    """Chooses its connection, as sessions for several databases do."""

    def get_bind(self, *args, **kwargs):
        return ELSEWHERE


ELSEWHERE = sqlalchemy.create_engine("sqlite://")


def test_a_session_that_chooses_another_connection_is_refused(database):
    sessions = async_sessionmaker(sync_session_class=ElsewhereSession)

    async def body():
        async with async_job_session(sessions) as session:
            await session.execute(sqlalchemy.text("SELECT 1"))

    with pytest.raises(UnknownConnectionError, match="not in the transaction of the job"):
        asyncio.run(body())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (async_scoped_session(SESSIONS, asyncio.current_task), "session_factory"),
        (orm.sessionmaker(), "makes no AsyncSession"),
    ],
)
def test_other_sessions_are_refused(database, make, text):
    async def body():
        async with async_job_session(make):
            pass

    with pytest.raises(TypeError, match=text):
        asyncio.run(body())


def test_a_sessionmaker_of_an_asyncpg_engine_may_be_given(database, orders):
    """Its values are converted by psycopg."""
    engine = create_async_engine("postgresql+asyncpg://127.0.0.1:9/nowhere")
    sessions = async_sessionmaker(engine, binds={Base: engine}, class_=AsyncSession)

    async def body():
        async with async_job_session(sessions) as session:
            session.add(Order(number=1, details={"a": [1]}))
            await session.commit()
            conn = await session.connection()
            await conn.exec_driver_sql("SELECT %s::int", (1,))
            raw = await conn.get_raw_connection()
            assert isinstance(raw.driver_connection, psycopg.Connection)
            with pytest.raises(IntegrityError) as err:
                async with session.begin_nested():
                    session.add(Order(number=1))
            assert isinstance(err.value.orig, psycopg.errors.UniqueViolation)
            return (await session.scalars(sqlalchemy.select(Order))).one().details

    assert asyncio.run(body()) == {"a": [1]}
    assert orders() == [1]


def test_an_error_of_the_connection_is_one_of_sqlalchemy(database, orders, connect):
    async def body():
        async with async_job_session() as session:
            pid = await session.scalar(PID)
            connect(autocommit=True).execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            await session.execute(sqlalchemy.text("SELECT 1"))

    with pytest.raises(DBAPIError):
        asyncio.run(body())


def test_connections_come_back_as_they_were(database, orders):
    seen = set()

    async def body():
        for number in range(20):
            async with async_job_session() as session:
                session.add(Order(number=number))
                seen.add(await session.scalar(PID))

    asyncio.run(body())
    with db.transaction() as conn:
        assert not conn._notice_handlers

    assert len(seen) <= 2
    assert orders() == list(range(20))


def test_many_jobs_of_one_loop_use_it_at_once(actor, orders, working, eventually, caplog):
    @actor(queue_name="default", once=True, max_retries=0)
    async def write(number):
        async with async_job_session(SESSIONS) as session:
            session.add(Order(number=number))
            await asyncio.sleep(0)
            await session.flush()

    with caplog.at_level(logging.ERROR), working("default", threads=4):
        for number in range(40):
            write.send(number)
        eventually(lambda: orders() == list(range(40)))

    assert caplog.records == []


@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_task_that_sends_when_its_job_ends_does_not_stop_the_event_loop(
    actor, log, working, eventually, is_awaited
):
    """The thread of the job waited for its result, and the event loop for that thread."""
    others = []

    @actor(queue_name="default", actor_name="ending", once=True, max_retries=0)
    async def ending():
        begun = asyncio.Event()

        async def send_later():
            if is_awaited:
                await begun.wait()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            log.send(1)

        async def fail():
            await asyncio.sleep(0.05)
            begun.set()
            raise ValueError

        if is_awaited:
            await asyncio.gather(fail(), send_later())
        else:
            ending.task = asyncio.create_task(send_later())

    @actor(queue_name="default", actor_name="other", max_retries=0)
    async def other():
        others.append(1)

    with working("default", threads=4):
        ending.send()
        for _ in range(20):
            other.send()
        eventually(lambda: len(others) == 20)


def test_a_session_whose_begin_is_cancelled_is_not_open(actor, working, orders, eventually):
    """The next session of the job was refused, because that one was never left."""

    @actor(queue_name="default", actor_name="impatient", once=True, max_retries=0)
    async def impatient():
        blocked = threading.Event()
        busy = asyncio.create_task(db.run_in_job_thread(blocked.wait, 60))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.5, blocked.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1), async_job_session(SESSIONS):
                pass
        await busy
        async with async_job_session(SESSIONS) as session:
            session.add(Order(number=1))

    with working("default"):
        impatient.send()
        eventually(lambda: orders() == [1])


def test_of_two_tasks_that_open_a_session_at_once_one_is_refused(
    actor, orders, working, rows, eventually
):
    """Both would be one transaction, and an error in one would undo what the other wrote."""
    ended = []

    @actor(queue_name="default", actor_name="both", once=True, max_retries=0)
    async def both():
        async def write(number):
            async with async_job_session(SESSIONS) as session:
                session.add(Order(number=number))

        tasks = [asyncio.ensure_future(write(number)) for number in (1, 2)]
        ended.extend(await asyncio.gather(*tasks, return_exceptions=True))

    with working("default"):
        both.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.once_keys"))

    assert ended[0] is None
    assert isinstance(ended[1], OpenTransactionError)
    assert orders() == [1]


def test_two_sessions_of_a_job_without_once_may_wait_for_each_other(
    actor, orders, working, eventually, connect
):
    """In one thread the second would wait for the row until the time limit."""
    connect(autocommit=True).execute("INSERT INTO store.orders (number) VALUES (0)")
    errors = []

    @actor(queue_name="default", actor_name="both", max_retries=0, time_limit=60_000)
    async def both():
        async def count():
            async with async_job_session(SESSIONS) as session:
                await session.execute(sqlalchemy.update(Order).values(number=Order.number + 1))
                await asyncio.sleep(0.1)  # the other one waits for the row meanwhile

        errors.extend(await asyncio.gather(*(count() for _ in range(3)), return_exceptions=True))

    with working("default"):
        both.send()
        eventually(lambda: errors)

    assert errors == [None] * 3
    assert orders() == [3]


def test_a_call_that_has_not_begun_when_its_task_is_cancelled_is_left_out(
    actor, working, eventually
):
    calls = []

    @actor(queue_name="default", actor_name="impatient", max_retries=0)
    async def impatient():
        blocked = threading.Event()
        busy = asyncio.create_task(db.run_in_job_thread(blocked.wait, 60))
        await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await db.run_in_job_thread(calls.append, "late")
        blocked.set()
        await busy
        await db.run_in_job_thread(calls.append, "next")

    with working("default"):
        impatient.send()
        eventually(lambda: calls)

    assert calls == ["next"]


@pytest.mark.parametrize("how", ["on the event loop", "in the thread of the job"])
def test_a_job_that_exits_does_not_end_the_event_loop(how, actor, working, rows, eventually):
    """All later async jobs of the process failed."""
    ended = []

    @actor(queue_name="default", actor_name="leave", max_retries=0)
    async def leave():
        if how == "in the thread of the job":
            await db.run_in_job_thread(sys.exit, 3)
        sys.exit(3)

    @actor(queue_name="default", actor_name="stay", max_retries=0)
    async def stay():
        ended.append(await db.run_in_job_thread(lambda: 1))

    with working("default", threads=1):
        leave.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        stay.send()
        eventually(lambda: ended)

    assert rows("SELECT error_class FROM workshed.dead") == [("SystemExit",)]
