"""docs/steps.md: its example, with workers that are stopped and killed in the middle."""

import pytest
from dramatiq import Message

from tests import pages

[(NAME, TEXT)] = pages.files("docs/steps.md").items()
ORDERS = 400
GATE = """
from workshed.jobs import steps
real = steps.Progress.save
def save(self, conn, cursor):
    if cursor == 60:
        conn.execute("SELECT pg_advisory_xact_lock(60)")
    real(self, conn, cursor)
steps.Progress.save = save
"""
"""The sixth block waits there until the test releases the lock."""


@pytest.fixture
def shop(conn, broker, tmp_path):
    conn.autocommit = True
    conn.execute("CREATE SCHEMA store")
    conn.execute("CREATE TABLE store.shops (id integer, closed boolean DEFAULT false)")
    conn.execute("CREATE TABLE store.orders (id integer, shop_id integer)")
    conn.execute("CREATE TABLE store.moved (order_id integer)")
    conn.execute("INSERT INTO store.shops VALUES (7)")
    conn.execute("INSERT INTO store.orders SELECT n, 7 FROM generate_series(1, %s) n", (ORDERS,))
    (tmp_path / NAME).write_text(TEXT.replace("BATCH = 100", "BATCH = 10") + GATE)
    return broker.enqueue(Message("low", "move_shop", (7,), {}, {}))


@pytest.fixture
def in_the_sixth_block(shop, start_worker, conn, eventually):
    """A worker whose job has moved 50 orders and is about to commit ten more."""
    conn.execute("SELECT pg_advisory_lock(60)")
    worker = start_worker("moves")
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    eventually(lambda: conn.execute(waits).fetchone()[0])
    return worker


@pytest.fixture
def all_is_moved_once(conn, start_worker, count, eventually):
    """Another worker goes on, and no run has cost an attempt."""

    def check():
        start_worker("moves")
        eventually(lambda: count("store.shops WHERE closed") == 1)
        distinct = conn.execute("SELECT count(DISTINCT order_id) FROM store.moved").fetchone()
        assert (count("store.moved"), *distinct) == (ORDERS, ORDERS)
        assert count("workshed.attempts") == 0

    return check


def test_a_worker_that_stops_waits_for_one_block(
    in_the_sixth_block, conn, count, eventually, all_is_moved_once
):
    worker = in_the_sixth_block
    worker.process.terminate()
    eventually(lambda: "this worker stops" in worker.text())
    conn.execute("SELECT pg_advisory_unlock(60)")

    assert worker.process.wait(60) == 0

    assert count("store.moved") == 60
    assert "resumes in step 'orders'" in worker.text()
    all_is_moved_once()


def test_commits_of_a_worker_that_is_killed_stay(
    in_the_sixth_block, conn, count, all_is_moved_once
):
    in_the_sixth_block.kill()
    conn.execute("SELECT pg_advisory_unlock(60)")

    assert count("store.moved") == 50
    all_is_moved_once()


def test_the_example_moves_a_shop(shop, start_worker, count, eventually, tmp_path):
    (tmp_path / NAME).write_text(TEXT)
    start_worker("moves")

    eventually(lambda: count("store.shops WHERE closed") == 1)
    assert count("store.moved") == ORDERS
