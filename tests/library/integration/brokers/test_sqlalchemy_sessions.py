"""Sessions of SQLAlchemy in the transaction of a job: what they write happens once."""

import contextlib
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy
from sqlalchemy import orm
from sqlalchemy.exc import DBAPIError, IntegrityError

from workshed import db, once, schedule
from workshed.contrib.sqlalchemy import job_session, session_on
from workshed.errors import OpenTransactionError, UnknownConnectionError
from workshed.jobs import step
from workshed.middleware import RetryOn

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
SESSIONS = orm.sessionmaker(expire_on_commit=False)


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
    """An actor that stores an order once, sends a job, and then calls `order.then`."""

    @actor(
        queue_name="default", once=True, retry_on=RetryOn(OSError, attempts=3), min_backoff=60_000
    )
    def order(number):
        with job_session(SESSIONS) as session:
            session.add(Order(number=number, details={"of": [number, "ä"]}))
            schedule.send(session, log.message(number), delay=DAYS)
        order.then()

    order.then = lambda: None
    return order


def test_copies_of_a_job_write_once(order, orders, publish_twice, rows):
    publish_twice(order.message(1), orders)

    assert orders() == [1]
    assert rows("SELECT scope FROM workshed.once_keys") == [("order",)]
    assert rows("SELECT actor FROM workshed.schedule") == [("log",)]
    assert rows("SELECT details FROM store.orders") == [({"of": [1, "ä"]},)]


def test_a_run_that_fails_after_the_block_leaves_nothing(order, orders, working, rows, eventually):
    """A session on an engine of its own would have committed."""

    def fail():
        raise OSError("no")

    order.then = fail
    with working("default"):
        order.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule"))

    assert orders() == rows("SELECT 1 FROM workshed.once_keys") == []
    assert rows("SELECT actor FROM workshed.schedule") == [("order",)]  # the retry, and no `log`


def test_a_block_in_any_other_job_is_a_transaction(database, orders):
    with job_session(SESSIONS) as session:
        session.add(Order(number=1))
    with pytest.raises(IntegrityError), job_session(SESSIONS) as session:
        session.add_all([Order(number=2), Order(number=1)])

    assert orders() == [1]


def test_an_engine_for_some_classes_is_not_used(database, orders):
    """It would write on a connection of its own."""
    elsewhere = sqlalchemy.create_engine("postgresql+psycopg://127.0.0.1:9/nowhere")
    sessions = orm.sessionmaker(elsewhere, binds={Base: elsewhere}, twophase=True)

    with job_session(sessions) as session:
        session.add(Order(number=1))

    assert orders() == [1]


class ElsewhereSession(orm.Session):
    """Chooses its connection, as sessions for several databases do."""

    def get_bind(self, *args, **kwargs):
        return ELSEWHERE


ELSEWHERE = sqlalchemy.create_engine("sqlite://")


def test_a_session_that_chooses_another_connection_is_refused(database, orders):
    with (
        pytest.raises(UnknownConnectionError, match="not in the transaction of the job"),
        job_session(ElsewhereSession) as session,
    ):
        session.execute(sqlalchemy.text("SELECT 1"))


def test_such_a_session_commits_nothing_after_an_error_that_was_ignored(database, orders):
    with sqlite_table() as numbers:
        with (
            pytest.raises(UnknownConnectionError, match="not in the transaction of the job"),
            job_session(ElsewhereSession) as session,
        ):
            insert_twice(session)
        assert numbers() == []


def insert_twice(session):
    for _ in range(2):
        with contextlib.suppress(UnknownConnectionError):
            session.execute(sqlalchemy.text("INSERT INTO numbers VALUES (1)"))


@contextlib.contextmanager
def sqlite_table():
    with ELSEWHERE.begin() as conn:
        conn.execute(sqlalchemy.text("CREATE TABLE numbers (number integer)"))

    def numbers():
        with ELSEWHERE.begin() as conn:
            return list(conn.execute(sqlalchemy.text("SELECT * FROM numbers")))

    yield numbers
    ELSEWHERE.dispose()


def test_a_scoped_session_is_refused_because_it_would_keep_the_connection(database):
    with (
        pytest.raises(TypeError, match="session_factory"),
        job_session(orm.scoped_session(SESSIONS)),
    ):
        pass


def test_a_session_that_begins_only_when_asked_commits_its_blocks(database, orders):
    with job_session(orm.sessionmaker(autobegin=False)) as session, session.begin():
        session.add(Order(number=1))

    assert orders() == [1]


def test_in_an_open_transaction_a_session_of_its_own_is_refused(database, orders):
    with (
        db.transaction(),
        pytest.raises(OpenTransactionError, match="session_on"),
        job_session(),
    ):
        pass


def test_of_two_sessions_in_one_transaction_each_undoes_its_own(database, orders):
    with db.transaction() as conn, session_on(conn) as outer:
        outer.add(Order(number=1))
        outer.flush()
        with session_on(conn) as inner:
            inner.add(Order(number=2))
            inner.commit()
            inner.add(Order(number=3))
            inner.flush()
            inner.rollback()
        outer.add(Order(number=4))

    assert orders() == [1, 2, 4]


def write_within(outer, conn):
    outer.add(Order(number=1))
    outer.flush()
    with session_on(conn) as inner:
        inner.add(Order(number=2))
        inner.flush()
        outer.rollback()  # ends the savepoint of the inner one, too


def test_a_rollback_of_the_outer_session_is_not_one_of_the_inner(database, orders):
    """If both had one name for a savepoint, what the outer one has undone would stay."""
    with (
        pytest.raises(DBAPIError, match="does not exist"),
        db.transaction() as conn,
        session_on(conn) as outer,
    ):
        write_within(outer, conn)

    assert orders() == []


def lose(session, conn):
    pid = session.scalar(sqlalchemy.text("SELECT pg_backend_pid()"))
    conn.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    session.execute(sqlalchemy.text("SELECT 1"))


def test_a_lost_connection_is_lost_to_its_session_only(database, orders, connect):
    """Another thread has a connection of the same pool."""
    written, lost = threading.Event(), threading.Event()

    def go_on():
        with job_session() as session:
            session.add(Order(number=1))
            session.flush()
            written.set()
            lost.wait(30)
            session.add(Order(number=2))

    thread = threading.Thread(target=go_on)
    thread.start()
    assert written.wait(30)
    try:
        with job_session() as session:
            pool = session.connection().engine.pool
            invalidated_at = pool._invalidate_time
        with pytest.raises(DBAPIError), job_session() as session:
            lose(session, connect(autocommit=True))
        # After a later time, SQLAlchemy would close those that others are just being lent.
        assert pool._invalidate_time == invalidated_at
    finally:
        lost.set()
        thread.join(30)
    with job_session() as session:
        session.add(Order(number=3))

    assert orders() == [1, 2, 3]


def test_commits_and_rollbacks_of_the_session_do_not_end_the_transaction(database, orders):
    with db.transaction() as conn:
        with session_on(conn, SESSIONS) as session:
            session.add(Order(number=1))
            session.commit()
            session.add(Order(number=2))
            session.flush()
            session.rollback()
            session.add(Order(number=3))
            with pytest.raises(IntegrityError), session.begin_nested():
                session.add(Order(number=1))
        assert orders() == []  # not visible before the commit
        assert conn.execute("SELECT count(*) FROM store.orders").fetchone() == (2,)

    assert orders() == [1, 3]


def test_a_session_after_an_error_of_another_goes_on_from_before_it(database, orders):
    with db.transaction() as conn:
        with pytest.raises(IntegrityError), session_on(conn) as session:
            session.add_all([Order(number=1), Order(number=1)])
        with session_on(conn) as session:
            session.add(Order(number=2))

    assert orders() == [2]


def test_a_cursor_and_the_orders_of_a_session_are_saved_together(database, orders):
    def import_orders(progress):
        for number in range(progress.cursor or 0, 3):
            with progress.transaction() as conn, session_on(conn, SESSIONS) as session:
                session.add(Order(number=number))
                progress.cursor = number + 1

    step("import", import_orders)

    assert orders() == [0, 1, 2]


def test_a_key_is_taken_in_the_transaction_of_the_session(
    actor, orders, working, eventually, counted
):
    @actor(queue_name="default", max_retries=1, min_backoff=1)
    def charge(number):
        with job_session(SESSIONS) as session:
            if once(session, f"charge {number}"):
                session.add(Order(number=number))

    labels = {"actor": "charge", "queue": "default", "outcome": "succeeded"}
    before = counted("jobs_total", **labels)
    with working("default"):
        charge.send(7)
        charge.send(7)
        eventually(lambda: counted("jobs_total", **labels) == before + 2)

    assert orders() == [7]


def test_a_time_limit_interrupts_a_query_of_the_session(actor, orders, working, rows, eventually):
    """On a connection of the driver's own, the query would continue until its end."""
    pids = []

    @actor(queue_name="default", time_limit=1_000, max_retries=0, once=True)
    def wait():
        with job_session(SESSIONS) as session:
            session.add(Order(number=1))
            pids.append(session.scalar(sqlalchemy.text("SELECT pg_backend_pid()")))
            session.execute(sqlalchemy.text("SELECT pg_sleep(60)"))

    with working("default"):
        wait.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        query = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s"
        assert rows(query, pids[0]) in ([], [(False,)])

    assert rows("SELECT error_class FROM workshed.dead") == [("TimeLimitExceeded",)]
    assert orders() == []


def test_the_time_limit_is_the_error_if_it_strikes_within_another_block(
    actor, orders, working, rows, eventually
):
    """The outer session learns of the closed connection only as it undoes its savepoint."""

    @actor(queue_name="default", time_limit=1_000, max_retries=0, once=True)
    def wait():
        with job_session(SESSIONS) as session:
            session.add(Order(number=1))
            session.flush()
            with db.transaction() as conn:
                conn.execute("SELECT pg_sleep(60)")

    with working("default"):
        wait.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert rows("SELECT error_class FROM workshed.dead") == [("TimeLimitExceeded",)]
    assert orders() == []


def test_postgresql_itself_ends_a_query_soon_after_the_limit(database):
    token = db.deadline.set(time.monotonic() + 9.99)
    try:
        with job_session() as session:
            found = session.execute(sqlalchemy.text("SHOW statement_timeout")).scalar_one()
    finally:
        db.deadline.reset(token)

    assert 14_000 < int(found.removesuffix("ms")) < 15_000


def test_connections_come_back_as_they_were(database, orders):
    """Nothing of SQLAlchemy stays on them, and each is used again."""
    seen = Counter()
    for number in range(50):
        with job_session(SESSIONS) as session:
            session.add(Order(number=number))
            raw = session.connection().connection.driver_connection
            seen[raw.info.backend_pid] += 1
    with db.transaction() as conn:
        assert not conn._notice_handlers

    assert sum(seen.values()) == 50
    assert len(seen) <= 2
    assert orders() == list(range(50))


def test_threads_use_one_engine_at_once(database, orders):
    start = threading.Barrier(8)

    def write(number):
        start.wait(30)
        with job_session(SESSIONS) as session:
            session.add(Order(number=number))

    threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert orders() == list(range(8))
