"""Unique jobs in a test: the keys are those of production, and no thread renews a run lock."""

import threading
from datetime import timedelta

import pytest

from workshed.errors import DuplicateJobError
from workshed.middleware import Unique


@pytest.fixture
def build(actor):
    """`build(Unique(…))`: an actor with this rule; its runs are in `.built`."""

    def declare(rule):
        built = []
        declared = actor(queue_name="default", actor_name="build", unique=rule)(built.append)
        declared.built = built
        return declared

    return declare


def test_of_two_jobs_with_one_key_one_is_enqueued_and_runs(jobs, build):
    job = build(Unique())

    first, second = job.send(7), job.send(7)

    assert first.message_id == second.message_id
    jobs.assert_enqueued(job, 7, times=1)
    assert jobs.drain() == 1
    job.send(7)
    assert jobs.drain() == 1
    assert job.built == [7, 7]


def test_a_failed_job_keeps_its_key_until_it_ends(jobs, build):
    job = build(Unique(on_conflict="raise"))
    job.send(7)
    jobs.fail_next(job, OSError("no"))
    with jobs.expect_retry():
        jobs.drain()

    with pytest.raises(DuplicateJobError):
        job.send(7)

    jobs.advance(minutes=1)
    jobs.drain()
    assert job.built == [7]
    assert job.send(7)


def test_a_run_lock_leaves_no_thread(jobs, build):
    before = set(threading.enumerate())
    job = build(Unique("until_and_while_executing"))

    job.send(7)
    jobs.drain()

    assert job.built == [7]
    assert set(threading.enumerate()) <= before


def test_a_job_that_has_ended_but_still_holds_its_key_is_replaced(jobs, build):
    job = build(Unique("until_expired", unique_for=timedelta(hours=1), on_conflict="replace"))
    job.send(7)
    jobs.drain()

    job.send(7)
    jobs.drain()

    assert job.built == [7, 7]
