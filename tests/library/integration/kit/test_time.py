"""The clock of a test: PostgreSQL and Python have the same one."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from workshed import db, schedule
from workshed.database.postgres import database_now


def now():
    """Return PostgreSQL's time and Python's."""
    with db.transaction() as conn:
        return database_now(conn), datetime.now(UTC)


def test_a_job_is_due_once_the_clock_has_come_so_far(jobs, greet):
    greet.send_with_options(args=(7,), delay=timedelta(days=3))

    jobs.advance(days=2, hours=23)
    assert jobs.drain() == 0
    jobs.advance(hours=1)

    assert [job.is_due for job in jobs.enqueued] == [True]
    assert jobs.drain() == 1


def test_both_clocks_move_and_go_on(jobs):
    start = datetime.now(UTC)
    jobs.advance(days=1)
    jobs.advance(days=2)

    sql, python = now()
    assert abs(sql - python) < timedelta(seconds=1)
    assert timedelta(days=3) <= python - start < timedelta(days=3, minutes=1)
    assert now() > (sql, python)


def test_stopped_clocks_show_one_time(jobs):
    stopped = jobs.freeze()

    assert now() == (stopped, stopped)
    jobs.advance(days=3)
    assert now() == (stopped + timedelta(days=3),) * 2


def test_a_job_that_was_due_is_due_when_the_clock_stops(jobs, greet):
    """The clock stops at the next whole second; stopped at the last one, this job would wait."""
    greet.send(7)

    jobs.freeze()

    assert jobs.drain() == 1


def test_jobs_of_one_instant_keep_their_order(jobs, greet):
    jobs.freeze()
    for user_id in range(20):
        greet.send(user_id)

    jobs.drain()

    assert [user for user, _ in greet.greeted] == list(range(20))


def test_of_jobs_due_at_once_the_one_sent_first_runs_first(jobs, greet):
    """PostgreSQL finds the row that was changed last; without its number the job would run last."""
    jobs.freeze()
    first = greet.send_with_options(args=(1,), delay=timedelta(days=1))
    greet.send(2)
    with db.transaction() as conn:
        schedule.run_now(conn, first.message_id)

    jobs.drain()

    assert [user for user, _ in greet.greeted] == [1, 2]


def test_the_job_that_is_due_first_runs_first(jobs, greet):
    greet.send_with_options(args=(1,), delay=timedelta(minutes=2))
    greet.send_with_options(args=(2,), delay=timedelta(minutes=1))
    jobs.advance(minutes=5)

    jobs.drain()

    assert [user for user, _ in greet.greeted] == [2, 1]


def test_time_does_not_run_backwards(jobs):
    with pytest.raises(ValueError, match="cannot go back"):
        jobs.advance(days=-1)


def test_moving_the_clock_takes_no_time(jobs):
    before = time.monotonic()

    jobs.advance(days=3)

    assert time.monotonic() - before < 60


@pytest.fixture
def _afterwards():
    """Torn down after `jobs`: this is the clock that the next test gets."""
    yield
    assert abs(datetime.now(UTC).timestamp() - time.clock_gettime(time.CLOCK_REALTIME)) < 1


@pytest.mark.usefixtures("_afterwards")
def test_the_clocks_are_right_again(jobs):
    jobs.advance(days=3)
    jobs.freeze()


def test_the_database_is_right_again(jobs, connect):
    """Runs after the one above, in the same database."""
    shift = jobs._conn.execute("SELECT workshed.now() - statement_timestamp()").fetchone()[0]

    assert shift == timedelta()


def test_no_other_database_can_be_shifted(jobs, conn):
    """`conn` leads to a database such as a program uses."""
    assert conn.execute("SELECT to_regclass('workshed.clock')").fetchone() == (None,)


def test_a_missing_library_is_named(jobs, monkeypatch):
    monkeypatch.setattr("workshed.testing.database.clock.time_machine", None)

    with pytest.raises(Exception, match=r"pip install 'workshed\[test\]'"):
        jobs.advance(days=1)
