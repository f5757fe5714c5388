"""What a test may expect to happen to a job, and how it makes one fail."""

import inspect
from datetime import timedelta

import pytest
from dramatiq.middleware import SkipMessage

from workshed import db
from workshed.errors import PermanentError
from workshed.jobs import Discard, RecordMissing, Snooze
from workshed.middleware import RetryOn


class BusyError(Exception):
    """A service is busy."""


@pytest.fixture
def call(actor):
    """An actor that is retried after 10 s, five times."""
    return actor(
        actor_name="call", retry_on=RetryOn(BusyError, attempts=5, wait=timedelta(seconds=10))
    )(lambda number, error=None: None)


@pytest.fixture
def raising(actor):
    """An actor that raises the last of its `.errors`."""

    def fail():
        raise errors[-1]

    errors = []
    declared = actor(actor_name="raising")(fail)
    declared.errors = errors
    return declared


def failure(expectation):
    with pytest.raises(AssertionError) as failed, expectation:
        pass
    return str(failed.value)


def test_a_retry_is_expected_and_not_raised(jobs, call):
    jobs.fail_next(call, BusyError("engaged"))

    with jobs.expect_retry(after=timedelta(seconds=10)):
        jobs.perform(call, 7)

    jobs.assert_enqueued(call, 7, in_=timedelta(seconds=10))


def test_a_retry_of_a_drained_job_is_expected_too(jobs, call):
    call.send(7)
    jobs.fail_next(call, BusyError)

    with jobs.expect_retry():
        assert jobs.drain() == 1


def test_a_job_comes_back_until_it_dies(jobs, call):
    call.send(7)
    for _ in range(4):
        jobs.fail_next(call, BusyError("engaged"))
        with jobs.expect_retry(after=timedelta(seconds=10)):
            jobs.drain()
        jobs.advance(seconds=10)
    jobs.fail_next(call, BusyError("engaged"))

    with pytest.raises(BusyError):
        jobs.drain()

    (dead,) = jobs.dead
    assert (dead.error_class, dead.attempt) == ("BusyError", 5)
    assert jobs.enqueued == []


@pytest.mark.parametrize(("seconds", "met"), [(7.4, False), (7.6, True), (13, True), (14, False)])
def test_about_means_within_a_quarter(jobs, actor, seconds, met):
    wait = timedelta(seconds=seconds)
    bad = actor(actor_name="bad", retry_on=RetryOn(BusyError, wait=wait))(lambda: None)
    about = timedelta(seconds=10) if seconds < 10 else timedelta(seconds=11)

    def run():
        jobs.fail_next(bad, BusyError)
        with jobs.expect_retry(after=about):
            jobs.perform(bad)

    if met:
        run()
    else:
        with pytest.raises(AssertionError):
            run()


def test_a_failed_expectation_of_a_retry_shows_what_ran(jobs, call, greet):
    jobs.perform(greet, 0)
    call.send(7)
    greet.send(7)
    jobs.fail_next(call, BusyError("engaged"))

    with pytest.raises(AssertionError) as failed, jobs.expect_retry(after=timedelta(minutes=1)):
        jobs.drain()

    assert str(failed.value) == inspect.cleandoc("""
        no job is to be retried after 1m (within 15s)

        ran meanwhile (2):
          call(7)   retry in 10s: BusyError: engaged
          greet(7)  succeeded
    """)


def test_an_error_without_a_retry_is_raised(jobs, call):
    jobs.fail_next(call, PermanentError("wrong number"))

    with pytest.raises(PermanentError), jobs.expect_retry():
        jobs.perform(call, 7)

    assert [dead.reason for dead in jobs.dead] == ["PermanentError: wrong number"]


def test_after_the_block_errors_are_raised_again(jobs, call):
    jobs.fail_next(call, BusyError)
    jobs.fail_next(call, BusyError)
    with jobs.expect_retry():
        jobs.perform(call, 7)

    with pytest.raises(BusyError):
        jobs.perform(call, 7)


@pytest.mark.parametrize("error", [Discard("user 7 has left"), RecordMissing("user", 7)])
def test_a_discard_is_expected_with_its_reason(jobs, raising, error):
    raising.errors.append(error)

    with jobs.expect_discard("user 7"):
        jobs.perform(raising)


def test_a_job_whose_actor_skips_it_is_discarded(jobs, raising):
    raising.errors.append(SkipMessage("not today"))

    with jobs.expect_discard("SkipMessage"):
        jobs.perform(raising)


def test_a_discard_for_another_reason_shows_it(jobs, raising):
    raising.errors.append(Discard("user 8 has left"))

    with pytest.raises(AssertionError) as failed, jobs.expect_discard("user 7"):
        jobs.perform(raising)

    assert str(failed.value) == inspect.cleandoc("""
        no job was discarded: 'user 7'

        ran meanwhile (1):
          raising()  discarded: user 8 has left
    """)


def test_an_expectation_where_nothing_ran_says_so(jobs):
    assert failure(jobs.expect_discard()) == "no job was discarded\n\nran meanwhile: none"
    assert failure(jobs.expect_retry()) == ("no job is to be retried\n\nran meanwhile: none")


def test_a_snooze_waits_and_costs_no_attempt(jobs, raising):
    raising.errors.append(Snooze(timedelta(minutes=5), "not yet"))

    jobs.perform(raising)

    (waiting,) = jobs.scheduled
    assert waiting.delay == timedelta(minutes=5)
    assert waiting.message.options["attempt"] == 1


def test_planned_errors_are_raised_in_their_order(jobs, call):
    jobs.fail_next(call, KeyError("first"))
    jobs.fail_next(call, ValueError("second"))

    with pytest.raises(KeyError):
        jobs.perform(call, 7)
    with pytest.raises(ValueError, match="second"):
        jobs.perform(call, 7)
    jobs.perform(call, 7)


def test_only_that_actor_fails_and_before_its_body(jobs, call, greet):
    jobs.fail_next(greet, BusyError)

    jobs.perform(call, 7)
    with pytest.raises(BusyError):
        jobs.perform(greet, 7)

    assert greet.greeted == []


def test_a_job_that_runs_once_fails_inside_its_transaction(jobs, actor):
    """Afterwards the actor's own function is back, and a direct call joins no transaction."""
    joined = []
    bad = actor(actor_name="bad", once=True)(
        lambda: joined.append(db.joined_connection() is not None)
    )
    jobs.fail_next(bad, BusyError)
    with jobs.expect_retry():
        jobs.perform(bad)

    bad()
    assert joined == [False]
    jobs.advance(minutes=1)
    jobs.drain()
    assert joined == [False, True]


def test_the_dead_are_listed_the_first_one_first(jobs, call):
    for number in (1, 2):
        jobs.fail_next(call, PermanentError(f"no {number}"))
        with pytest.raises(PermanentError):
            jobs.perform(call, number)

    assert [dead.reason for dead in jobs.dead] == ["PermanentError: no 1", "PermanentError: no 2"]


def test_a_job_that_waits_for_its_time_is_scheduled(jobs, greet):
    greet.send(1)
    greet.send_with_options(args=(2,), delay=timedelta(days=3))
    greet.send_with_options(args=(3,), delay=timedelta(days=1))

    assert [job.message.args for job in jobs.scheduled] == [(3,), (2,)]
