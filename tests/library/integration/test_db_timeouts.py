"""How long the library waits for PostgreSQL before it gives up, on real sockets in real time."""

import os
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
from psycopg_pool import PoolTimeout

from tests.faults.proxy import Proxy
from tests.hosts import Network
from workshed import db
from workshed.errors import DatabaseUnreachableError
from workshed.settings import settings

pytestmark = pytest.mark.one_in(3)  # each test starts programs of its own

CONNECTIONS = 6
CUT = """
    SELECT pg_terminate_backend(pid)
      FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND backend_type = 'client backend'
"""
LATE_S = 20
"""How much longer than planned a wait may take on a busy machine."""
TALKING = """
import contextlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from workshed import db


def until_given_up(conn, query):
    with contextlib.suppress(psycopg.OperationalError):
        conn.execute(query)
    return time.monotonic()


waiting, asking = db.connect(), db.connect()
with ThreadPoolExecutor() as threads:
    silent = threads.submit(until_given_up, waiting, "SELECT pg_sleep(600), 'silent'")
    sys.stdin.readline()
    cut = time.monotonic()
    print(until_given_up(asking, "SELECT 1") - cut, silent.result() - cut)
"""


@pytest.fixture
def deaf():
    """The URL of a server that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"postgresql://ada@127.0.0.1:{listening.getsockname()[1]}/shop"


def use(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(f"WORKSHED_{name}", value)
    settings.cache_clear()
    db.forget_pool()


def test_a_wait_for_a_connection_of_the_pool_ends_after_five_seconds(database, monkeypatch):
    """By default the pool waits for 30 s."""
    use(monkeypatch, POOL_SIZE="1")

    with db.transaction():
        began = time.monotonic()
        with pytest.raises(PoolTimeout), db.separate_transaction():
            pass
        queue_wait_s = time.monotonic() - began

    assert 5 <= queue_wait_s < 5 + LATE_S


def test_a_pool_whose_connections_were_all_cut_lends_a_new_one_at_once(
    database, connect, eventually, in_threads
):
    """By default a borrower pauses for 1 s after a lost connection, for 2 s after the next, and
    gives up at the third: a restart of PostgreSQL would fail each thread of a sender once."""
    all_open = threading.Barrier(CONNECTIONS)

    def use_one(_number):
        with db.transaction():
            all_open.wait()

    in_threads(use_one, range(CONNECTIONS), threads=CONNECTIONS)
    others = connect(autocommit=True)
    others.execute(CUT)
    eventually(lambda: not others.execute(CUT).fetchall())

    with db.transaction() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_wait_for_a_silent_server_ends_after_five_seconds(deaf, monkeypatch):
    """By default libpq waits for ever, and psycopg for 130 s."""
    use(monkeypatch, DATABASE_URL=deaf)
    began = time.monotonic()

    with pytest.raises(DatabaseUnreachableError, match="timeout"):
        db.connect()

    assert 5 <= time.monotonic() - began < 5 + LATE_S


@pytest.fixture
def host():
    """A host with a network of its own, and the address at which it reaches this machine."""
    with Network() as network:
        yield network.host("worker"), network.address


def test_a_server_that_vanished_is_noticed(host, database, connect, eventually):
    """By default TCP retransmits for a quarter of an hour, and waits for two hours on a silent
    connection before it probes at all."""
    host, address = host
    parts, conn = urlsplit(database), connect(autocommit=True)
    asked = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%_silent_' AND state = 'active'"
    with Proxy(parts.hostname, parts.port, address) as proxy:
        talking = subprocess.Popen(
            [*host.words, sys.executable, "-c", TALKING],
            env={**os.environ, "WORKSHED_DATABASE_URL": proxy.url(database)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            eventually(lambda: conn.execute(asked).fetchone())
            host.unplug()
            said, _ = talking.communicate("cut\n", timeout=60)
        finally:
            talking.kill()
            talking.communicate()

    sent_s, silent_s = map(float, said.split())
    assert 10 <= sent_s < 10 + LATE_S
    assert 10 <= silent_s < 15 + LATE_S  # it was silent for a moment before
