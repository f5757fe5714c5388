"""Limits in a test: they are those of production, and the test moves the clock."""

import threading
from datetime import timedelta

import pytest

from workshed.middleware import Limit, Unique

MINUTE = timedelta(minutes=1)


@pytest.fixture
def sync(actor):
    """`sync(Limit…)`: an actor with limits; its runs are in `.ran`."""

    def declare(*limits, then=lambda *_: None, **options):
        ran = []

        @actor(queue_name="default", actor_name="sync", limit=limits, **options)
        def sync(tenant, number=0):
            ran.append((tenant, number))
            then(tenant, number)

        sync.ran = ran
        return sync

    return declare


def numbers(job):
    return [number for _, number in job.ran]


def test_a_window_admits_its_limit_and_the_others_wait_for_the_next(jobs, sync):
    jobs.freeze()
    job = sync(Limit.window(2, per=MINUTE))
    for number in range(5):
        job.send("a", number)

    jobs.drain()

    assert numbers(job) == [0, 1]
    assert [one.delay for one in jobs.scheduled] == [MINUTE, MINUTE, 2 * MINUTE]
    jobs.advance(minutes=1)
    jobs.drain()
    assert numbers(job) == [0, 1, 2, 3]
    jobs.advance(minutes=1)
    jobs.drain()
    assert numbers(job) == [0, 1, 2, 3, 4]


def test_a_bucket_admits_a_burst_and_then_one_after_another(jobs, sync):
    jobs.freeze()
    job = sync(Limit.bucket(2, per=MINUTE, burst=3))
    for number in range(6):
        job.send("a", number)

    jobs.drain()

    assert numbers(job) == [0, 1, 2]
    seconds = [one.delay.total_seconds() for one in jobs.scheduled]
    assert seconds == [30, 60, 90]


def test_waiting_for_a_limit_costs_no_attempt(jobs, sync):
    job = sync(Limit.window(1, per=MINUTE))
    job.send("a", 1)
    job.send("a", 2)
    jobs.drain()

    [waiting] = jobs.scheduled

    assert waiting.message.options["attempt"] == 1
    assert waiting.message.options["generation"] == 1
    assert jobs.runs[-1].outcome.reason == "over the limit sync:window"


def test_each_key_has_a_limit_of_its_own(jobs, sync):
    job = sync(Limit.window(1, per=MINUTE, key=["tenant"]))
    for tenant in ("a", "b", "a"):
        job.send(tenant)

    jobs.drain()

    assert [tenant for tenant, _ in job.ran] == ["a", "b"]


def test_of_several_limits_all_are_taken_or_none(jobs, sync):
    """Taken one by one, a job waiting for its tenant's limit would use up the limit of all."""
    jobs.freeze()
    of_all = Limit.window(2, per=MINUTE, name="all")  # checked first, by key
    of_one = Limit.bucket(1, per=MINUTE, key=["tenant"], name="one")
    job = sync(of_all, of_one)
    for number, tenant in enumerate(["a", "a", "a", "b"]):
        job.send(tenant, number)

    jobs.drain()

    assert job.ran == [("a", 0), ("b", 3)]


def test_a_retry_is_another_start(jobs, sync):
    def fail(*_):
        raise OSError("no")

    job = sync(Limit.window(1, per=timedelta(hours=1)), then=fail)
    job.send("a")
    with jobs.expect_retry():
        jobs.drain()
    jobs.advance(minutes=1)

    jobs.drain()

    assert len(job.ran) == 1
    assert jobs.runs[-1].outcome.kind == "snoozed"


def test_a_slot_is_free_when_its_job_has_ended_whatever_its_outcome(jobs, sync):
    job = sync(Limit.concurrent(1))
    job.send("a", 1)
    jobs.fail_next(job, OSError("no"))
    with jobs.expect_retry():
        jobs.drain()

    job.send("a", 2)
    jobs.drain()

    assert numbers(job) == [2]


def test_a_job_that_starts_within_another_waits_until_that_has_ended(jobs, sync):
    def another(tenant, number):
        if number == 1:
            job.send(tenant, 2)
            jobs.perform(job, tenant, 3)

    job = sync(Limit.concurrent(1), then=another)
    job.send("a", 1)

    jobs.drain()

    assert numbers(job) == [1, 3, 2]  # in the order in which they came to the limit
    kinds = [run.outcome.kind for run in jobs.runs]
    assert kinds == ["snoozed", "succeeded", "snoozed", "succeeded", "succeeded"]


def test_a_job_that_runs_once_releases_its_slot_with_its_effects(jobs, sync):
    job = sync(Limit.concurrent(1), once=True)
    job.send("a", 1)
    job.send("a", 2)

    assert jobs.drain() == 2


@pytest.mark.parametrize("strategy", ["until_executing", "until_and_while_executing"])
def test_a_job_that_waits_for_a_limit_keeps_its_key_until_it_starts(strategy, jobs, sync):
    """If its key were freed first, every job sent would wait."""
    job = sync(Limit.window(1, per=MINUTE), unique=Unique(strategy, key=["number"]))
    job.send("a", 1)
    job.send("a", 2)
    jobs.drain()

    assert job.send("a", 2).message_id == jobs.scheduled[0].message_id
    jobs.advance(minutes=1)
    jobs.drain()
    assert numbers(job) == [1, 2]
    assert job.send("a", 2).message_id == jobs.enqueued[0].message_id


def test_a_job_that_does_not_get_its_run_lock_takes_nothing_of_its_limit(jobs, sync):
    def another(tenant, number):
        if number == 1:
            jobs.perform(job, "a", 2)
            jobs.perform(job, "b", 3)

    unique = Unique("while_executing", key=["tenant"])
    job = sync(Limit.window(2, per=MINUTE), then=another, unique=unique)
    jobs.perform(job, "a", 1)

    assert numbers(job) == [1, 3]


def test_an_actor_with_limits_leaves_no_thread(jobs, sync):
    before = set(threading.enumerate())
    job = sync(Limit.concurrent(1))

    job.send("a")
    jobs.drain()

    assert set(threading.enumerate()) <= before


def test_a_job_whose_key_cannot_be_computed_is_not_sent(jobs, sync):
    def broken(tenant, number=0):
        raise LookupError("no such tenant")

    job = sync(Limit.concurrent(1, key=broken))

    with pytest.raises(LookupError):
        job.send("a")
