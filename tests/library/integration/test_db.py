"""The pool of a process: opened late, closed at its end, never shared with a child."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import psycopg
import pytest

from workshed import db
from workshed.database import pool
from workshed.errors import DatabaseUnreachableError


def test_a_transaction_commits_at_its_end(database, conn):
    with db.transaction() as tx:
        tx.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")

    assert conn.execute("SELECT generation FROM workshed.completed_generations").fetchone() == (1,)


def test_an_exception_rolls_back(database, conn):
    def fail():
        with db.transaction() as tx:
            tx.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert conn.execute("SELECT generation FROM workshed.completed_generations").fetchone() is None


def test_a_program_that_used_the_pool_exits_at_once_and_quietly(database):
    """Unless the pool is closed, the interpreter waits 5 s for each of its threads, and warns."""
    code = "from workshed import db\nwith db.transaction() as tx: tx.execute('SELECT 1')"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stderr == ""  # the warning would be here


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(database):
    with db.transaction() as tx:
        mine = tx.info.backend_pid
    read, write = os.pipe()

    if os.fork() == 0:
        try:
            with db.transaction() as tx:
                os.write(write, str(tx.info.backend_pid).encode())
        finally:
            os._exit(0)
    os.wait()

    assert int(os.read(read, 100)) != mine
    with db.transaction() as tx:
        assert tx.info.backend_pid == mine
    os.close(read)
    os.close(write)


def test_a_block_that_joined_a_transaction_commits_with_it(database, conn):
    """This holds for its first statement too, which psycopg would commit as a transaction."""
    query = "INSERT INTO workshed.queues (name, kind) VALUES ('lost', 'quorum')"

    def write_and_fail():
        with db.transaction() as outer, db.join_transaction(outer):
            with db.transaction() as inner:
                inner.execute(query)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()

    assert conn.execute("SELECT count(*) FROM workshed.queues").fetchone() == (0,)


def test_a_savepoint_commits_with_its_transaction_also_as_its_first_statement(database, conn):
    def write_and_fail():
        with db.transaction() as tx:
            with db.savepoint(tx):
                tx.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()

    assert conn.execute("SELECT count(*) FROM workshed.completed_generations").fetchone() == (0,)


def test_an_exception_undoes_no_more_than_its_savepoint(database, conn):
    def write_and_fail(tx):
        with db.savepoint(tx):
            tx.execute("INSERT INTO workshed.completed_generations VALUES ('b', 1)")
            raise ZeroDivisionError

    with db.transaction() as tx:
        tx.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")
        with pytest.raises(ZeroDivisionError):
            write_and_fail(tx)

    assert conn.execute("SELECT message_id FROM workshed.completed_generations").fetchall() == [
        ("a",)
    ]


@pytest.mark.parametrize("used_s", [0, 60])
def test_a_connection_that_postgresql_closed_is_not_handed_out(database, conn, eventually, used_s):
    """A connection that was just used is not tested; its closing is noticed without that."""
    with db.transaction() as tx:
        pid = tx.info.backend_pid
    tx.used_at -= used_s
    conn.autocommit = True
    conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
    alive = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
    eventually(lambda: conn.execute(alive, (pid,)).fetchone() is None)

    with db.limited_wait(), db.transaction() as tx:
        assert tx.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_was_just_used_is_not_tested(database, conn):
    """Its last statement is that of its user."""
    with db.transaction() as tx:
        tx.execute("SELECT 'mine'")
        pid = tx.info.backend_pid
    with db.limited_wait(), db.transaction() as tx:
        last = conn.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
        assert tx.info.backend_pid == pid

    assert last == ("COMMIT",)


def test_all_lost_connections_are_replaced_at_once(database, conn):
    """The pool's own check would pause between them, and time out before the fifth."""
    connections = db.get_pool()
    connections.open()
    lent = [connections.getconn() for _ in range(5)]
    conn.autocommit = True
    for one in lent:
        connections.putconn(one)
        conn.execute("SELECT pg_terminate_backend(%s, 60000)", (one.info.backend_pid,))

    with db.transaction() as tx:
        assert tx.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_to_a_server_that_became_read_only_is_replaced(database):
    """The application handles the error of the savepoint, so the block itself ends without one."""
    with db.transaction() as tx:
        pid = tx.info.backend_pid
        tx.execute("SET default_transaction_read_only = on")
    with db.limited_wait(), db.transaction() as tx:
        assert tx.info.backend_pid == pid
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), db.savepoint(tx):
            tx.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")

    with db.limited_wait(), db.transaction() as tx:
        assert tx.info.backend_pid != pid
        tx.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")


def test_an_autocommit_statement_commits_by_itself(database, conn):
    with db.autocommit_statement() as single:
        single.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")
        assert conn.execute("SELECT generation FROM workshed.completed_generations").fetchone() == (
            1,
        )


def test_a_transaction_after_an_autocommit_statement_is_one(database, conn):
    def fail():
        with db.transaction() as tx:
            assert tx.info.backend_pid == pid
            tx.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")
            raise ZeroDivisionError

    with db.autocommit_statement() as single:
        single.execute("SELECT 1")
        pid = single.info.backend_pid
    with pytest.raises(ZeroDivisionError):
        fail()

    assert conn.execute("SELECT generation FROM workshed.completed_generations").fetchone() is None


def test_an_autocommit_statement_that_fails_leaves_a_usable_connection(database):
    def fail():
        with db.autocommit_statement() as single:
            single.execute("SELECT 1 / 0")

    for _ in range(3):
        with pytest.raises(psycopg.errors.DivisionByZero) as info:
            fail()

        assert not db.commit_is_unknown(info.value)
    with db.transaction() as tx:
        assert tx.execute("SELECT 1").fetchone() == (1,)


def test_an_autocommit_statement_in_a_joined_transaction_commits_with_it(database, conn):
    def write_and_fail():
        with db.transaction() as outer, db.join_transaction(outer):
            with db.autocommit_statement() as single:
                single.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()

    assert conn.execute("SELECT generation FROM workshed.completed_generations").fetchone() is None


def test_an_autocommit_statement_whose_connection_ends_may_have_committed(database, conn):
    conn.autocommit = True

    def end_it():
        with db.autocommit_statement() as single:
            pid = single.info.backend_pid
            conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
            single.execute("SELECT pg_sleep(60)")

    with pytest.raises(psycopg.OperationalError) as info:
        end_it()

    assert db.commit_is_unknown(info.value)
    with db.transaction() as tx:
        assert tx.execute("SELECT 1").fetchone() == (1,)


def test_a_snapshot_sees_nothing_that_commits_after_its_first_look(database, conn):
    with db.snapshot() as tx:
        tx.execute("SELECT")
        conn.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")
        conn.commit()
        assert tx.execute("SELECT count(*) FROM workshed.completed_generations").fetchone() == (0,)

    with db.snapshot() as tx:
        assert tx.execute("SELECT count(*) FROM workshed.completed_generations").fetchone() == (1,)


def test_a_snapshot_is_read_only_and_leaves_a_connection_that_writes(database):
    with db.snapshot() as tx:
        pid = tx.info.backend_pid
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            tx.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")

    with db.transaction() as tx:
        assert tx.info.backend_pid == pid
        assert tx.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
        tx.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")


def test_the_time_limit_of_a_job_holds_in_its_snapshot(database):
    token = db.deadline.set(time.monotonic() + 60)
    try:
        with db.snapshot() as tx:
            (timeout,) = tx.execute("SHOW statement_timeout").fetchone()
            assert tx.execute("SHOW transaction_isolation").fetchone() == ("repeatable read",)
    finally:
        db.deadline.reset(token)

    assert timeout not in ("0", "")


def test_a_snapshot_cannot_be_part_of_a_transaction(database):
    """The first statement of that transaction has already chosen what it sees."""
    with (
        db.transaction() as outer,
        db.join_transaction(outer),
        pytest.raises(RuntimeError, match="leave out once=True"),
        db.snapshot(),
    ):
        pass


def test_a_server_that_is_away_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("WORKSHED_DATABASE_URL", "postgresql://ada:secret@127.0.0.1:9/shop")

    with pytest.raises(DatabaseUnreachableError, match=r"127\.0\.0\.1:9/shop") as error:
        db.connect()

    assert "secret" not in str(error.value)


def test_a_forked_child_that_exits_leaves_its_parents_connections(database):
    """The pool's close at exit is inherited, and would close the parent's sockets."""
    code = (
        "import os, sys\n"
        "from workshed import db\n"
        "with db.transaction() as tx: mine = tx.info.backend_pid\n"
        "if os.fork() == 0: sys.exit(0)\n"
        "os.wait()\n"
        "with db.transaction() as tx: print(tx.info.backend_pid == mine)\n"
    )

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == "True\n"


def test_a_failover_is_a_transient_error():
    assert issubclass(psycopg.errors.ReadOnlySqlTransaction, db.TRANSIENT_ERRORS)


def test_threads_that_need_the_pool_at_once_get_the_same(monkeypatch):
    """The first query imports psycopg, which takes long enough for others to arrive."""
    db.forget_pool()
    built = []

    def build_slowly(*_):
        built.append(None)
        time.sleep(0.05)
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(pool, "build_pool", build_slowly)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: db.get_pool(), range(8)))

    assert len(built) == 1
    assert len({id(one) for one in found}) == 1
    db.forget_pool()


def test_a_full_pool_is_not_reported_as_a_server_that_is_away(database, servers):
    full = pool.build_pool(servers.database_url, {}, 1, 0.2)
    full.open()
    lent = full.getconn()
    try:
        with pytest.raises(pool.FullPoolError) as said:
            full.getconn()
    finally:
        full.putconn(lent)
    full.putconn(full.getconn())
    full.close()

    assert db.describe_outage(said.value) == (
        "all 1 connections of this process were in use for 0.2 s: set WORKSHED_POOL_SIZE to more"
    )


def test_a_server_that_is_away_is_not_reported_as_a_full_pool(database):
    away = pool.build_pool("postgresql://ada:secret@127.0.0.1:9/shop", {}, 1, 0.2)
    away.open()
    with pytest.raises(pool.NoConnectionError) as said:
        away.getconn()
    away.close()

    assert not isinstance(said.value, pool.FullPoolError)
    assert db.describe_outage(said.value).startswith("PostgreSQL does not answer at ")
