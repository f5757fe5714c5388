"""The pool of a process: opened late, closed at its end, never shared with a child."""

import os
import subprocess
import sys
import time

import psycopg
import pytest

from workshed import db
from workshed.errors import DatabaseUnreachableError


def test_a_transaction_commits_at_its_end(database, conn):
    with db.transaction() as tx:
        tx.execute("INSERT INTO jobs.settled VALUES ('a', 1)")

    assert conn.execute("SELECT hop FROM jobs.settled").fetchone() == (1,)


def test_an_exception_rolls_back(database, conn):
    def fail():
        with db.transaction() as tx:
            tx.execute("INSERT INTO jobs.settled VALUES ('a', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert conn.execute("SELECT hop FROM jobs.settled").fetchone() is None


def test_a_program_that_used_the_pool_ends_at_once_and_quietly(database):
    """Without closing it, the interpreter waits 5 s for each of its threads, and says so."""
    code = "from workshed import db\nwith db.transaction() as tx: tx.execute('SELECT 1')"
    started = time.monotonic()

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert time.monotonic() - started < 5
    assert done.stderr == ""


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
    """Also as its first statement: psycopg would take the block for the whole, and commit it."""
    query = "INSERT INTO jobs.queues (name, kind) VALUES ('lost', 'quorum')"

    def write_and_fail():
        with db.transaction() as outer, db.joined(outer):
            with db.transaction() as inner:
                inner.execute(query)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()

    assert conn.execute("SELECT count(*) FROM jobs.queues").fetchone() == (0,)


def test_a_connection_that_postgresql_closed_is_not_handed_out(database, conn):
    with db.transaction() as tx:
        pid = tx.info.backend_pid
    conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
    conn.commit()

    with db.transaction() as tx:
        assert tx.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_is_away_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("WORKSHED_DATABASE_URL", "postgresql://ada:secret@127.0.0.1:9/shop")

    with pytest.raises(DatabaseUnreachableError, match=r"127\.0\.0\.1:9/shop") as error:
        db.connect()

    assert "secret" not in str(error.value)


def test_a_forked_child_that_exits_leaves_its_parents_connections(database):
    """The pool's end at exit is inherited, and would close the parent's sockets."""
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


def test_a_failover_is_a_passing_error():
    assert issubclass(psycopg.errors.ReadOnlySqlTransaction, db.PASSING_ERRORS)
