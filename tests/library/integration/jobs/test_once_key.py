"""The key of a job with `once=True`, which is written in the round trip of BEGIN."""

import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.faults.proxy import Proxy
from tests.pooler import pooled
from workshed import db
from workshed.database import waits
from workshed.jobs.idempotency import once_keys
from workshed.jobs.idempotency.once_keys import OnceKey
from workshed.settings import settings

RUNNING = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
WAITING_COPY = """
    SELECT 1
      FROM pg_stat_activity
     WHERE pid = %s AND wait_event_type = 'Lock' AND query NOT LIKE '%%lock_wait%%'
"""


def run(message_id):
    """Run a transaction that begins with a key; return whether it is new, and its session."""
    key = OnceKey("charge", message_id)
    with db.transaction_begun_by(key.begin) as conn:
        return key.claim(conn), conn.info.backend_pid


@pytest.fixture
def keys(conn):
    """`keys()`: the stored keys."""
    conn.autocommit = True
    return lambda: [key for (key,) in conn.execute("SELECT key FROM workshed.once_keys ORDER BY 1")]


@pytest.fixture
def through_proxy(database, monkeypatch):
    """A proxy between this process and PostgreSQL."""
    parts = urlsplit(database)
    with Proxy(parts.hostname, parts.port) as between:
        monkeypatch.setenv("WORKSHED_DATABASE_URL", between.url(database))
        settings.cache_clear()
        db.forget_pool()
        yield between
        db.get_pool().close()
        db.forget_pool()


def test_a_key_is_new_once(database, keys):
    assert [run("a")[0], run("b")[0], run("a")[0]] == [True, True, False]
    assert keys() == ["a", "b"]


def test_a_job_waits_twice_for_postgresql(database, tmp_path):
    """These are BEGIN with the key, and COMMIT; a check of the connection would be another."""
    _, pid = run("a")
    key = OnceKey("charge", "b")
    trace = tmp_path / "trace"
    with trace.open("w") as written:
        with db.get_pool().connection() as conn:
            conn.pgconn.trace(written.fileno())
            assert conn.info.backend_pid == pid
        with db.transaction_begun_by(key.begin) as conn:
            assert key.claim(conn)
        conn.pgconn.untrace()

    exchanged = trace.read_text()
    assert exchanged.count("ReadyForQuery") == 2
    assert exchanged.count("\tParse\t") == 1  # of BEGIN: the key's statement was prepared before


def test_an_error_undoes_the_key(database, keys):
    """It also drops the prepared statements of its session: the next run prepares its own again."""

    def fail():
        key = OnceKey("charge", "a")
        with db.transaction_begun_by(key.begin) as conn:
            assert key.claim(conn)
            for _ in range(10):
                conn.execute("SELECT 1")  # psycopg prepares it
            raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fail()
    assert keys() == []
    assert run("a")[0]


def test_a_session_that_lost_its_statements_prepares_them_again(database, keys):
    _, pid = run("a")
    with db.transaction() as conn:
        conn.execute("DEALLOCATE ALL")
        assert conn.info.backend_pid == pid

    assert run("b") == (True, pid)
    assert keys() == ["a", "b"]


def test_the_usual_limit_of_lock_waits_holds_for_the_job(database):
    with db.transaction() as conn:
        conn.execute("SET lock_timeout = '7s'")
        pid = conn.info.backend_pid

    for is_new in (True, False):
        key = OnceKey("charge", "a")
        with db.transaction_begun_by(key.begin) as conn:
            assert (key.claim(conn), conn.info.backend_pid) == (is_new, pid)
            assert conn.execute("SHOW lock_timeout").fetchone() == ("7s",)


@pytest.mark.parametrize("commits", [True, False])
def test_a_copy_waits_for_one_that_runs(database, conn, connect, eventually, commits):
    """However long that is: the wait for a lock is not that for an answer."""
    _, pid = run("z")
    assert once_keys.claim_key(conn, "charge", "a", "a")
    watching = connect(autocommit=True)

    with ThreadPoolExecutor() as threads:
        copy = threads.submit(run, "a")
        # The statement that goes with BEGIN gives up after 0.1 s; this one waits.
        eventually(lambda: watching.execute(WAITING_COPY, (pid,)).fetchone())
        (conn.commit if commits else conn.rollback)()

        assert copy.result() == (not commits, pid)


def test_a_lost_connection_is_replaced(database, conn, eventually):
    _, pid = run("a")
    conn.autocommit = True
    conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
    eventually(lambda: conn.execute(RUNNING, (pid,)).fetchone() is None)

    is_new, other = run("b")

    assert is_new
    assert other != pid


def test_all_connections_that_were_cut_are_replaced(through_proxy, keys, in_threads):
    all_open = threading.Barrier(4)

    def run_together(number):
        key = OnceKey("charge", f"{number}")
        with db.transaction_begun_by(key.begin) as conn:
            assert key.claim(conn)
            all_open.wait()

    in_threads(run_together, range(4), threads=4)
    through_proxy.cut()

    assert run("a")[0]
    assert keys() == ["0", "1", "2", "3", "a"]


def test_a_connection_that_went_silent_is_replaced(through_proxy, keys, monkeypatch):
    """What is sent on it vanishes, so that only the wait for an answer shows it."""
    monkeypatch.setattr(waits, "ANSWER_S", 1.0)
    _, pid = run("a")
    through_proxy.half_open()

    is_new, other = run("b")

    assert is_new
    assert other != pid
    assert keys() == ["a", "b"]


@pytest.mark.fresh_database
def test_an_error_of_the_statement_is_not_repeated(database, conn):
    """The connection works, so another one would not help."""
    conn.execute("ALTER TABLE workshed.once_keys RENAME TO taken_away")
    conn.commit()

    with pytest.raises(psycopg.errors.UndefinedTable):
        run("a")


def test_a_connection_whose_server_became_read_only_is_replaced(database, keys):
    _, pid = run("a")
    with db.transaction() as conn:
        conn.execute("SET default_transaction_read_only = on")
        assert conn.info.backend_pid == pid

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        run("b")

    assert run("b")[0]
    assert keys() == ["a", "b"]


def test_a_key_that_is_no_text_of_postgresql_is_refused(database):
    with pytest.raises(psycopg.DataError, match="NUL"):
        run("a\0b")


def test_through_a_pooler_a_key_has_a_round_trip_of_its_own(database, eventually, monkeypatch):
    with pooled(database, eventually) as url:
        monkeypatch.setenv("WORKSHED_DATABASE_URL", url)
        settings.cache_clear()
        db.forget_pool()

        assert [run("a")[0], run("a")[0]] == [True, False]

        db.get_pool().close()
        db.forget_pool()


def test_in_a_joined_transaction_a_key_commits_with_it(database, keys):
    def fail():
        with db.transaction() as outer, db.join_transaction(outer):
            assert run("a")[0]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert keys() == []
