"""A deadline for all waits of a request for PostgreSQL."""

import time

import anyio
import pytest
from psycopg_pool import PoolTimeout

from workshed import db
from workshed.database.waits import remaining_wait
from workshed.settings import settings

HANGS_S = 60


def test_a_deadline_counts_all_statements_together(database):
    def sleep():
        with db.WaitDeadline(1), db.transaction() as tx:
            for _ in range(1_000):
                tx.execute("SELECT pg_sleep(0.1)")

    with pytest.raises(db.NoAnswerError):
        sleep()


def test_a_deadline_holds_in_the_threads_of_a_request():
    async def ask():
        with db.WaitDeadline(60):
            return await anyio.to_thread.run_sync(remaining_wait)

    assert 0 < anyio.run(ask) <= 60
    assert remaining_wait() is None


def test_a_deadline_limits_the_wait_for_a_connection(database, monkeypatch):
    monkeypatch.setattr(db, "POOL_WAIT_S", 2 * HANGS_S)
    monkeypatch.setenv("WORKSHED_POOL_SIZE", "1")
    settings.cache_clear()
    began = time.monotonic()

    def borrow_another():
        with db.WaitDeadline(0.2), db.separate_transaction():
            pass

    with db.separate_transaction(), pytest.raises(PoolTimeout):
        borrow_another()

    assert time.monotonic() - began < HANGS_S


def test_a_block_may_restart_the_deadline_until_its_end():
    with db.WaitDeadline(0):
        with db.WaitDeadline() as deadline:
            before_s = remaining_wait()
            deadline.restart(60)
            within_s = remaining_wait()
        after_s = remaining_wait()

    assert (before_s, after_s) == (0, 0)
    assert within_s > 0


def test_a_block_may_replace_the_deadline_by_a_limit_of_each_statement_until_its_end():
    with db.WaitDeadline(0):
        with db.WaitDeadline() as deadline:
            deadline.replace_by_statement_limit(60)
            within_s = remaining_wait()
            with db.WaitDeadline(30):
                inside_s = remaining_wait()
        after_s = remaining_wait()

    assert (within_s, after_s) == (60, 0)
    assert inside_s <= 30
    assert remaining_wait() is None


def test_the_shorter_of_two_limits_holds(monkeypatch):
    monkeypatch.setattr("workshed.database.waits.ANSWER_S", 30.0)

    with db.limited_wait(), db.WaitDeadline(60):
        assert remaining_wait() == 30
    with db.limited_wait(), db.WaitDeadline(1):
        assert remaining_wait() <= 1
