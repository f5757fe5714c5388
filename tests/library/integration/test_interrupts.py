"""Where a time limit interrupts a thread that talks to PostgreSQL, and where it never does."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from dramatiq.middleware import TimeLimitExceeded

from workshed import db
from workshed.database import waits
from workshed.interrupts import thread_gate
from workshed.middleware import TimeLimit
from workshed.middleware.runtime.time_limit import CurrentLimits
from workshed.settings import settings
from workshed.transport.consuming.settlement import retry_until_stored


@pytest.fixture
def wire(proxy, servers):
    """A proxy for all traffic to PostgreSQL in this test."""
    return proxy(servers.database_url)


@pytest.fixture
def through(wire, database, monkeypatch):
    """The pool of this process connects through the proxy."""
    monkeypatch.setenv("WORKSHED_DATABASE_URL", wire.url(database))
    settings.cache_clear()
    db.forget_pool()


@pytest.fixture
def small_pool(database, monkeypatch):
    monkeypatch.setenv("WORKSHED_POOL_SIZE", "2")
    settings.cache_clear()
    db.forget_pool()


def limited(function, limit_ms):
    """Run `function` as an actor with a time limit."""
    deadline = TimeLimit()
    wrapped = deadline._wrap(function)
    deadline._current.job = CurrentLimits(None, limit_ms, 2 * limit_ms)
    return wrapped()


def sleep_in_sql():
    with db.transaction() as conn:
        conn.execute("SELECT pg_sleep(60), 'interrupted'")


@pytest.mark.usefixtures("database")
def test_a_time_limit_ends_a_query_and_the_server_stops_working_on_it(conn, eventually):
    """Without `_forward_waits` it interrupts after the query, a minute late; without the cancel the
    server works on for as long."""
    conn.autocommit = True  # in a transaction `pg_stat_activity` would not change
    started = time.monotonic()

    with pytest.raises(TimeLimitExceeded):
        limited(sleep_in_sql, 200)

    assert time.monotonic() - started < 45
    query = """
        SELECT count(*) FROM pg_stat_activity
         WHERE query LIKE '%''interrupted''' AND state = 'active'
    """
    eventually(lambda: conn.execute(query).fetchone() == (0,))


@pytest.mark.usefixtures("small_pool")
def test_no_time_limit_loses_a_connection_of_the_pool():
    """Without the gate an interrupt in the pool's own code would keep its connection for ever."""

    def talk():
        until = time.monotonic() + 90
        while time.monotonic() < until:  # if no limit interrupted it, the whole run would hang
            with db.transaction() as conn:
                conn.execute("SELECT 1")

    def strike(number):
        with pytest.raises(TimeLimitExceeded):
            limited(talk, 1 + number % 7)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(strike, range(300)))

    for _ in range(2):
        with db.transaction() as first, db.transaction() as second:
            assert first.execute("SELECT 1").fetchone() == (1,)
            assert second.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.fresh_database
@pytest.mark.usefixtures("database")
def test_no_time_limit_strikes_in_a_commit(conn, connect):
    """A deferred constraint keeps the commit busy beyond the limit."""
    with connect(autocommit=True) as admin:
        admin.execute("""
            CREATE FUNCTION workshed.slowly() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER slowly AFTER INSERT ON workshed.completed_generations
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION workshed.slowly();
        """)

    def write():
        with db.transaction() as tx:
            tx.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")

    with db.transaction():
        pass  # the limit must not strike while the pool connects

    with pytest.raises(TimeLimitExceeded):
        limited(write, 300)

    assert conn.execute("SELECT generation FROM workshed.completed_generations").fetchone() == (1,)


@pytest.mark.usefixtures("through")
def test_a_short_statement_does_not_wait_for_ever(wire, monkeypatch):
    """Without the limit of `answering` this thread waits for ever: every byte is acknowledged."""
    monkeypatch.setattr(waits, "ANSWER_S", 1.0)
    with db.transaction() as conn:
        conn.execute("SELECT 1")
        wire.half_open()

        with (
            pytest.raises(psycopg.OperationalError, match="no answer within 1 s"),
            db.limited_wait(),
        ):
            conn.execute("SELECT 1")

        assert conn.closed


@pytest.mark.usefixtures("through")
def test_the_pool_gives_a_working_connection_after_one_went_dead(wire, monkeypatch):
    monkeypatch.setattr(waits, "ANSWER_S", 1.0)
    with db.transaction() as conn:
        conn.execute("SELECT 1")
    wire.half_open()

    with db.transaction() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.usefixtures("through")
def test_a_statement_in_a_transaction_may_take_its_time(monkeypatch):
    monkeypatch.setattr(waits, "ANSWER_S", 0.2)

    with db.transaction() as conn:
        assert conn.execute("SELECT pg_sleep(1), 1").fetchone()[1] == 1


@pytest.mark.usefixtures("through")
def test_a_step_that_must_happen_is_repeated_when_no_answer_comes(wire, monkeypatch):
    """Without `answering` in `must`, the worker's thread waits for ever."""
    monkeypatch.setattr(waits, "ANSWER_S", 1.0)
    lines = []

    def step():
        with db.transaction() as tx:
            lines.append(tx)
            if len(lines) == 1:
                wire.half_open()
            return tx.execute("SELECT 1").fetchone()

    with db.limited_wait():
        assert retry_until_stored(step, lambda: True, threading.Event()) == (1,)
    assert len(lines) == 2


# The statement timeout


def timeout_of(conn):
    return conn.execute("SHOW statement_timeout").fetchone()[0]


@pytest.mark.usefixtures("database")
def test_postgresql_knows_the_time_limit_of_a_job():
    """If the process vanished, PostgreSQL would otherwise work on its query for hours."""

    def ask():
        with db.transaction() as tx, tx.transaction():
            return timeout_of(tx)

    left_ms = int(limited(ask, 10_000).removesuffix("ms"))
    assert 10_000 < left_ms < 15_000
    with db.transaction() as tx:  # the same connection, from the pool
        assert timeout_of(tx) == "0"


@pytest.mark.usefixtures("database")
def test_a_job_that_runs_once_has_the_timeout_in_its_only_transaction():
    with db.transaction() as outer, db.join_transaction(outer):

        def ask():
            with db.transaction() as tx:
                return timeout_of(tx)

        assert limited(ask, 10_000) != "0"


def test_a_shorter_timeout_of_the_server_stays(database, monkeypatch):
    monkeypatch.setenv("WORKSHED_DATABASE_URL", f"{database}?options=-c%20statement_timeout%3D2s")
    settings.cache_clear()
    db.forget_pool()

    def ask():
        with db.transaction() as tx:
            return timeout_of(tx)

    assert limited(ask, 10_000) == "2s"


@pytest.mark.usefixtures("database")
def test_postgresql_ends_a_statement_that_is_not_interrupted(monkeypatch):
    """The second safeguard, for when the first does not work: the thread's gate stays shut."""
    monkeypatch.setattr(db, "SERVER_GRACE_S", 0.3)
    started = time.monotonic()

    def sleep_behind_a_gate():
        with db.transaction() as tx, thread_gate().defer():
            tx.execute("SELECT pg_sleep(60)")

    with pytest.raises((psycopg.errors.QueryCanceled, TimeLimitExceeded)):
        limited(sleep_behind_a_gate, 200)

    assert time.monotonic() - started < 45
