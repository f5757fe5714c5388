"""The verdict on a run, by example and by property."""

import smtplib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware import Policy, RetryOn, verdict
from middleware.policy import Run
from middleware.waits import exponential, fixed, polynomial
from workshed.errors import PermanentError
from workshed.jobs import Discard, RecordMissing, RetryAfter, Snooze

MINUTE = timedelta(minutes=1)


def policy(**rules):
    return Policy(**{"max_retries": 3, "wait": fixed(MINUTE), **rules})


def run(attempt=1, *, hop=0, transactional=False, age=timedelta()):
    return Run(attempt, hop, transactional, age)


def test_a_job_that_raised_nothing_is_done():
    assert verdict(None, run(), policy()).kind == "done"


def test_a_failure_is_retried_three_times_by_default_then_dead():
    kinds = [verdict(OSError("no"), run(n), policy()).kind for n in (1, 2, 3, 4)]

    assert kinds == ["retry", "retry", "retry", "dead"]


def test_a_permanent_error_dies_at_once():
    outcome = verdict(PermanentError("refused"), run(), policy())

    assert (outcome.kind, outcome.reason) == ("dead", "PermanentError: refused")


def test_retry_on_counts_the_first_run():
    rules = policy(retry_on=(RetryOn(OSError, attempts=2, wait=MINUTE),))

    assert [verdict(OSError(), run(n), rules).kind for n in (1, 2)] == ["retry", "dead"]


def test_the_rule_for_the_nearest_class_wins():
    rules = policy(
        retry_on=(
            RetryOn(OSError, attempts=9, wait=timedelta(hours=1)),
            RetryOn(TimeoutError, attempts=9, wait=MINUTE),
        ),
        discard_on=(ConnectionResetError,),
    )

    assert verdict(TimeoutError(), run(), rules).delay == MINUTE
    assert verdict(ConnectionRefusedError(), run(), rules).delay == timedelta(hours=1)
    assert verdict(ConnectionResetError(), run(), rules).kind == "discarded"


def test_a_subclass_of_an_error_follows_its_rule():
    rules = policy(retry_on=(RetryOn(smtplib.SMTPException, attempts=2, wait=MINUTE),))

    assert verdict(smtplib.SMTPServerDisconnected(), run(2), rules).kind == "dead"


def test_a_rule_may_spare_a_permanent_error():
    rules = policy(retry_on=(RetryOn(PermanentError, attempts=2, wait=MINUTE),))

    assert verdict(PermanentError(), run(), rules).kind == "retry"


def test_throws_buries_at_once():
    assert verdict(KeyError("x"), run(), policy(throws=(KeyError,))).kind == "dead"


def test_a_snooze_waits_as_it_says_whatever_the_attempt():
    outcome = verdict(Snooze(MINUTE), run(99), policy())

    assert (outcome.kind, outcome.delay) == ("snooze", MINUTE)


def test_retry_after_replaces_the_wait_and_costs_an_attempt():
    assert verdict(RetryAfter(timedelta(hours=2)), run(), policy()).delay == timedelta(hours=2)
    assert verdict(RetryAfter(timedelta(hours=2)), run(4), policy()).kind == "dead"


def test_discard_says_why():
    assert verdict(Discard("paid already"), run(), policy()).reason == "paid already"


def test_a_record_missing_right_after_a_direct_send_is_looked_for_again():
    outcome = verdict(RecordMissing("user", 7), run(age=timedelta(seconds=2)), policy())

    assert (outcome.kind, outcome.delay) == ("snooze", timedelta(seconds=1))


def test_a_sender_whose_clock_is_slow_gets_a_second_look():
    outcome = verdict(RecordMissing("user", 7), run(age=timedelta(hours=1)), policy())

    assert (outcome.kind, outcome.delay) == ("snooze", timedelta(seconds=1))


def test_a_record_still_missing_later_is_gone():
    outcome = verdict(RecordMissing("user", 7), run(hop=1, age=timedelta(seconds=60)), policy())

    assert (outcome.kind, outcome.reason) == ("discarded", "user 7 does not exist")


def test_a_record_that_was_stored_with_its_job_is_gone_at_the_first_miss():
    outcome = verdict(RecordMissing("user", 7), run(transactional=True), policy())

    assert outcome.kind == "discarded"


@given(hop=st.integers(0, 10_000), age=st.floats(0, 60))
def test_looks_for_a_missing_record_end_with_the_window(hop, age):
    outcome = verdict(RecordMissing("user", 7), run(hop=hop, age=timedelta(seconds=age)), policy())

    left = timedelta(seconds=60) - timedelta(seconds=age)
    if left <= timedelta() and hop:
        assert outcome.kind == "discarded"
    else:
        assert outcome.delay <= max(left, timedelta(seconds=1))


@given(attempt=st.integers(1, 10_000))
def test_waits_grow_and_stay_within_their_bounds(attempt):
    first, longest = timedelta(seconds=15), timedelta(days=7)
    error = OSError()

    doubled = min(first * 2 ** min(attempt - 1, 30), longest)
    assert doubled * 0.75 <= exponential(first, longest)(attempt, error) <= doubled
    fourth = timedelta(seconds=min(attempt**4, 7 * 86_400))
    assert fourth <= polynomial()(attempt, error) <= fourth + timedelta(seconds=30)


def test_a_wait_may_be_a_function_of_attempt_and_error():
    rule = RetryOn(OSError, wait=lambda attempt, error: attempt * timedelta(seconds=error.errno))

    outcome = verdict(OSError(5, "io"), run(2), policy(retry_on=(rule,)))

    assert outcome.delay == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("errors", "options"),
    [((), {}), ((OSError,), {"attempts": 0}), ((OSError,), {"wait": "linear"})],
)
def test_a_rule_that_could_never_hold_is_refused(errors, options):
    with pytest.raises(ValueError, match=r"RetryOn|attempts|wait"):
        RetryOn(*errors, **options)
