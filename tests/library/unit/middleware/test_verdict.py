"""The verdict on a run, by example and by property."""

import smtplib
from datetime import timedelta

import pytest
from dramatiq import Retry
from hypothesis import given
from hypothesis import strategies as st

from workshed.errors import PermanentError
from workshed.jobs import Discard, RecordMissing, RetryAfter, Snooze
from workshed.middleware import Policy, RetryOn, decide_outcome
from workshed.middleware.job import RetriesExhausted
from workshed.middleware.options.backoff import (
    LONGEST_SPAN,
    exponential_wait,
    fixed_wait,
    polynomial_wait,
)
from workshed.middleware.options.retry_on import LONGEST_KEY, MOST_GROUPS, check_rules
from workshed.middleware.retrying.policy import RunFacts

MINUTE = timedelta(minutes=1)


def policy(**rules):
    return Policy(**{"max_retries": 3, "wait": fixed_wait(MINUTE), **rules})


def run(attempt=1, *, generation=0, transactional=False, age=timedelta(), **facts):
    return RunFacts(attempt, generation, transactional, age, **facts)


def fail(errors, rules, spans=None):
    """Fail a job with one error after the other, `spans` apart; return the outcomes."""
    outcomes, options, now_ms = [], {"failures": {}}, 1_800_000_000_000
    for attempt, error in enumerate(errors, start=1):
        facts = {name: options[name] for name in ("failures", "failing_since") if name in options}
        outcomes.append(decide_outcome(error, run(attempt, now_ms=now_ms, **facts), rules))
        options |= outcomes[-1].options
        now_ms += (spans or timedelta()) // timedelta(milliseconds=1)
    return outcomes


def kinds(outcomes):
    return [outcome.kind for outcome in outcomes]


def test_a_job_that_raised_nothing_succeeded():
    assert decide_outcome(None, run(), policy()).kind == "succeeded"


def test_a_failure_is_retried_three_times_by_default_then_dead():
    kinds = [decide_outcome(OSError("no"), run(n), policy()).kind for n in (1, 2, 3, 4)]

    assert kinds == ["retry", "retry", "retry", "dead"]


def test_a_permanent_error_dies_at_once():
    outcome = decide_outcome(PermanentError("refused"), run(), policy())

    assert (outcome.kind, outcome.reason) == ("dead", "PermanentError: refused")


def test_retry_on_counts_the_first_run():
    rules = policy(retry_on=(RetryOn(OSError, attempts=2, wait=MINUTE),))

    assert [decide_outcome(OSError(), run(n), rules).kind for n in (1, 2)] == ["retry", "dead"]


def test_the_rule_for_the_nearest_class_wins():
    rules = policy(
        retry_on=(
            RetryOn(OSError, attempts=9, wait=timedelta(hours=1)),
            RetryOn(TimeoutError, attempts=9, wait=MINUTE),
        ),
        discard_on=(ConnectionResetError,),
    )

    assert decide_outcome(TimeoutError(), run(), rules).delay == MINUTE
    assert decide_outcome(ConnectionRefusedError(), run(), rules).delay == timedelta(hours=1)
    assert decide_outcome(ConnectionResetError(), run(), rules).kind == "discarded"


def test_the_last_of_two_rules_for_one_class_wins():
    rules = policy(
        retry_on=(RetryOn(OSError, wait=timedelta(hours=1)), RetryOn(OSError, wait=MINUTE))
    )

    assert decide_outcome(TimeoutError(), run(), rules).delay == MINUTE


def test_each_group_counts_its_own_failures():
    """With one count for all, one failed connection after two timeouts would be dead at once."""
    rules = policy(retry_on=(RetryOn(TimeoutError, attempts=3), RetryOn(EOFError, attempts=2)))
    timeout, end = TimeoutError(), EOFError()

    outcomes = fail([timeout, timeout, end, end], rules)

    assert kinds(outcomes) == ["retry", "retry", "retry", "dead"]
    assert outcomes[2].options["failures"] == {"TimeoutError": 2, "EOFError": 1}
    assert outcomes[3].reason == "failed 2 times in 4 runs: EOFError"
    assert kinds(fail([timeout, end, timeout, timeout], rules))[-1] == "dead"


def test_errors_that_no_group_names_are_counted_by_themselves_too():
    rules = policy(max_retries=1, retry_on=(RetryOn(TimeoutError, attempts=9),))

    outcomes = fail([TimeoutError(), TimeoutError(), KeyError(), ValueError()], rules)

    assert kinds(outcomes) == ["retry", "retry", "retry", "dead"]


def test_errors_of_one_group_count_together_in_whatever_order_they_are_named():
    before = policy(retry_on=(RetryOn(TimeoutError, EOFError, attempts=3),))
    after = policy(retry_on=(RetryOn(EOFError, TimeoutError, attempts=3),))

    first = decide_outcome(TimeoutError(), run(failures={}), before)
    second = decide_outcome(EOFError(), run(2, failures=first.options["failures"]), after)
    third = decide_outcome(EOFError(), run(3, failures=second.options["failures"]), after)

    assert kinds([first, second, third]) == ["retry", "retry", "dead"]


def test_a_message_of_an_earlier_release_keeps_the_attempts_it_has_had():
    """It carries only the number of its run; without that, the count would restart at zero."""
    rules = policy(retry_on=(RetryOn(OSError, attempts=4, wait=MINUTE),))

    assert decide_outcome(OSError(), run(4, failures=None), rules).kind == "dead"
    assert decide_outcome(OSError(), run(3, failures=None), rules).options["failures"] == {
        "OSError": 3
    }


def test_groups_that_a_deploy_has_removed_are_kept_until_there_are_too_many():
    """If two releases dropped each other's groups, they would retry a job forever between them."""
    gone = {f"gone_{n}": 1 for n in range(MOST_GROUPS - 1)}
    rules = policy(retry_on=(RetryOn(OSError),))

    kept = decide_outcome(OSError(), run(9, failures=gone), rules).options["failures"]
    cut = decide_outcome(OSError(), run(9, failures={**gone, "one_more": 1}), rules).options[
        "failures"
    ]

    assert kept == {**gone, "OSError": 1}
    assert cut == {"OSError": 1}


FAILURES = (TimeoutError(), ConnectionResetError(), OSError(), KeyError(), ValueError(), EOFError())


@given(st.lists(st.sampled_from(FAILURES), min_size=12, max_size=40))
def test_whatever_the_errors_every_job_ends_and_no_group_has_more_than_its_attempts(errors):
    rules = policy(
        max_retries=2,
        retry_on=(
            RetryOn(TimeoutError, attempts=3),
            RetryOn(OSError, EOFError, attempts=4),
            RetryOn(ConnectionError, attempts=1),
        ),
    )
    attempts = {"TimeoutError": 3, "EOFError,OSError": 4, "ConnectionError": 1, "*": 3}

    outcomes = fail(errors, rules)

    end = kinds(outcomes).index("dead")
    assert end < sum(attempts.values())
    for outcome in outcomes[:end]:
        counted = outcome.options["failures"]
        assert all(count < attempts[key] for key, count in counted.items())
    assert sum(outcomes[end - 1].options["failures"].values()) == end if end else True


def test_the_name_of_a_group_is_short_however_many_errors_it_has():
    errors = [type(f"Error{n}", (Exception,), {}) for n in range(50)]

    assert len(RetryOn(*errors).group.key) <= LONGEST_KEY


def test_a_subclass_of_an_error_follows_its_rule():
    rules = policy(retry_on=(RetryOn(smtplib.SMTPException, attempts=2, wait=MINUTE),))

    assert decide_outcome(smtplib.SMTPServerDisconnected(), run(2), rules).kind == "dead"


def test_a_rule_may_spare_a_permanent_error():
    rules = policy(retry_on=(RetryOn(PermanentError, attempts=2, wait=MINUTE),))

    assert decide_outcome(PermanentError(), run(), rules).kind == "retry"


def test_a_rule_for_all_errors_spares_no_permanent_one():
    """`PermanentError` itself says that retrying is useless; `Exception` does not know that."""
    rules = policy(retry_on=(RetryOn(Exception),), throws=(KeyError,))

    assert decide_outcome(PermanentError(), run(), rules).kind == "dead"
    assert decide_outcome(KeyError(), run(), rules).kind == "dead"
    assert decide_outcome(ValueError(), run(), rules).kind == "retry"


def test_a_rule_for_a_subclass_of_a_class_in_throws_is_nearer():
    rules = policy(retry_on=(RetryOn(TimeoutError),), throws=(OSError,))

    assert decide_outcome(TimeoutError(), run(), rules).kind == "retry"
    assert decide_outcome(ConnectionError(), run(), rules).kind == "dead"


def test_an_error_in_throws_is_dead_at_once():
    assert decide_outcome(KeyError("x"), run(), policy(throws=(KeyError,))).kind == "dead"


def test_a_snooze_waits_as_it_says_whatever_the_attempt():
    outcome = decide_outcome(Snooze(MINUTE), run(99), policy())

    assert (outcome.kind, outcome.delay) == ("snoozed", MINUTE)


def test_retry_after_replaces_the_wait_and_costs_an_attempt():
    assert decide_outcome(RetryAfter(timedelta(hours=2)), run(), policy()).delay == timedelta(
        hours=2
    )
    assert decide_outcome(RetryAfter(timedelta(hours=2)), run(4), policy()).kind == "dead"


def test_retry_after_counts_for_the_group_that_names_it():
    class BusyError(RetryAfter):
        """One service is busy."""

    rules = policy(max_retries=9, retry_on=(RetryOn(BusyError, attempts=2, wait=MINUTE),))
    busy = BusyError(timedelta(hours=2))

    first, second = fail([busy, busy], rules)

    assert (first.kind, first.delay, second.kind) == ("retry", timedelta(hours=2), "dead")


@pytest.mark.parametrize("error", [RetryAfter, Snooze])
@pytest.mark.parametrize(
    ("requested", "waited"), [(timedelta(-1), timedelta()), (timedelta.max, LONGEST_SPAN)]
)
def test_a_wait_that_no_row_can_hold_is_brought_within_a_year(error, requested, waited):
    """Otherwise the row could not be stored and the job would go to RabbitMQ's dead queue."""
    assert decide_outcome(error(requested), run(), policy()).delay == waited


def test_dramatiqs_retry_is_followed():
    """Its `delay` is in milliseconds; without this, the wait of the rules would silently apply."""
    assert decide_outcome(Retry(delay=90_000), run(), policy()).delay == timedelta(seconds=90)
    assert decide_outcome(Retry(), run(), policy()).delay == MINUTE
    assert decide_outcome(Retry(delay=10**30), run(), policy()).delay == LONGEST_SPAN
    assert decide_outcome(Retry(delay=0), run(4), policy()).kind == "dead"


def test_discard_says_why():
    assert decide_outcome(Discard("paid already"), run(), policy()).reason == "paid already"


def test_a_record_missing_right_after_a_direct_send_is_looked_for_again():
    outcome = decide_outcome(RecordMissing("user", 7), run(age=timedelta(seconds=2)), policy())

    assert (outcome.kind, outcome.delay) == ("snoozed", timedelta(seconds=1))


def test_a_sender_whose_clock_is_slow_gets_a_second_look():
    outcome = decide_outcome(RecordMissing("user", 7), run(age=timedelta(hours=1)), policy())

    assert (outcome.kind, outcome.delay) == ("snoozed", timedelta(seconds=1))


def test_a_record_still_missing_later_is_gone():
    outcome = decide_outcome(
        RecordMissing("user", 7), run(generation=1, age=timedelta(seconds=60)), policy()
    )

    assert (outcome.kind, outcome.reason) == ("discarded", "user 7 does not exist")


def test_a_record_that_was_stored_with_its_job_is_gone_at_the_first_miss():
    outcome = decide_outcome(RecordMissing("user", 7), run(transactional=True), policy())

    assert outcome.kind == "discarded"


def test_a_record_that_is_read_from_a_replica_is_looked_for_until_that_may_have_it():
    lagging = policy(replica_lag=timedelta(seconds=10))
    first = decide_outcome(RecordMissing("user", 7), run(transactional=True, now_ms=5_000), lagging)
    at = {"transactional": True, "missing_since_ms": 5_000}

    assert (first.kind, first.options) == ("snoozed", {"record_missing_since": 5_000})
    late = decide_outcome(RecordMissing("user", 7), run(**at, generation=1, now_ms=14_500), lagging)
    assert (late.kind, late.delay) == ("snoozed", timedelta(seconds=1))
    assert late.options == {"record_missing_since": 5_000}
    last = decide_outcome(RecordMissing("user", 7), run(**at, generation=2, now_ms=15_500), lagging)
    assert last.kind == "discarded"


def test_a_job_of_a_long_transaction_looks_for_its_record_at_the_replica_as_long_as_others():
    sent_long_ago = run(transactional=True, age=timedelta(hours=1))
    lagging = policy(replica_lag=timedelta(seconds=10))

    assert decide_outcome(RecordMissing("user", 7), sent_long_ago, lagging).kind == "snoozed"


@given(generation=st.integers(0, 10_000), age=st.floats(0, 60))
def test_looks_for_a_missing_record_end_with_the_window(generation, age):
    outcome = decide_outcome(
        RecordMissing("user", 7), run(generation=generation, age=timedelta(seconds=age)), policy()
    )

    left = timedelta(seconds=60) - timedelta(seconds=age)
    if left <= timedelta() and generation:
        assert outcome.kind == "discarded"
    else:
        assert outcome.delay <= max(left, timedelta(seconds=1))


@given(attempt=st.integers(1, 10_000))
def test_waits_grow_and_stay_within_their_bounds(attempt):
    first, longest = timedelta(seconds=15), timedelta(days=7)
    error = OSError()

    doubled = min(first * 2 ** min(attempt - 1, 30), longest)
    assert doubled * 0.75 <= exponential_wait(first, longest)(attempt, error) <= doubled
    fourth = timedelta(seconds=min(attempt**4, 7 * 86_400))
    assert fourth <= polynomial_wait()(attempt, error) <= fourth + timedelta(seconds=30)


def test_a_wait_may_be_a_function_of_attempt_and_error():
    rule = RetryOn(OSError, wait=lambda attempt, error: attempt * timedelta(seconds=error.errno))

    outcome = decide_outcome(OSError(5, "io"), run(2), policy(retry_on=(rule,)))

    assert outcome.delay == timedelta(seconds=10)


@pytest.mark.parametrize(
    "given", [None, 5, timedelta(-1), timedelta.max, ZeroDivisionError("in the function")]
)
def test_a_wait_that_gives_nonsense_falls_back_to_the_exponential_one(given, caplog):
    """Without that, the failing function would send the failed job to RabbitMQ's dead queue."""

    def wait(attempt, error):
        if isinstance(given, Exception):
            raise given
        return given

    outcome = decide_outcome(OSError(), run(), policy(retry_on=(RetryOn(OSError, wait=wait),)))

    assert (outcome.kind, outcome.delay) == ("retry", MINUTE)
    assert "waiting exponentially" in caplog.text


def test_a_wait_counts_the_failures_of_its_group_alone():
    rule = RetryOn(OSError, wait=lambda attempt, error: attempt * MINUTE)

    outcomes = fail([KeyError(), KeyError(), OSError(), OSError()], policy(retry_on=(rule,)))

    assert [outcome.delay for outcome in outcomes[2:]] == [MINUTE, 2 * MINUTE]


# A span instead of a number


def test_a_group_with_a_span_is_retried_until_its_end_and_no_longer():
    rules = policy(retry_on=(RetryOn(OSError, retry_for=timedelta(minutes=10), wait=4 * MINUTE),))

    outcomes = fail([OSError()] * 4, rules, spans=4 * MINUTE)

    assert kinds(outcomes) == ["retry", "retry", "retry", "dead"]
    assert [outcome.delay for outcome in outcomes[:3]] == [4 * MINUTE, 4 * MINUTE, 2 * MINUTE]
    assert outcomes[3].reason == "failed 4 times, for 0:12:00: OSError"


def test_a_span_begins_with_the_first_failure_of_its_group():
    """Counted from the send, a job delayed by three days would be dead at its first failure."""
    rules = policy(
        max_retries=99, retry_on=(RetryOn(OSError, retry_for=timedelta(minutes=5), wait=MINUTE),)
    )

    outcomes = fail([KeyError(), KeyError(), KeyError(), OSError()], rules, spans=4 * MINUTE)

    assert outcomes[-1].kind == "retry"
    assert list(outcomes[-1].options["failing_since"]) == ["OSError"]


def test_a_wait_that_the_other_side_asked_for_is_not_cut_to_the_span():
    rules = policy(retry_on=(RetryOn(RetryAfter, retry_for=timedelta(minutes=10)),))

    outcomes = fail([RetryAfter(timedelta(hours=1))] * 2, rules, spans=timedelta(hours=1))

    assert outcomes[0].delay == timedelta(hours=1)
    assert outcomes[1].kind == "dead"


# dramatiq's `retry_when`


def test_retry_when_decides_instead_of_max_retries():
    asked = []

    def twice(retries, error):
        asked.append((retries, error))
        return retries < 2

    error = OSError()

    outcomes = fail([error] * 3, policy(max_retries=0, retry_when=twice))

    assert kinds(outcomes) == ["retry", "retry", "dead"]
    assert outcomes[-1].retries_exhausted == RetriesExhausted(2, None)
    assert asked == [(0, error), (1, error), (2, error)]


def test_a_retry_when_that_fails_leaves_it_to_max_retries(caplog):
    rules = policy(max_retries=1, retry_when=lambda retries, error: 1 / 0)

    assert kinds(fail([OSError()] * 2, rules)) == ["retry", "dead"]
    assert "retry_when raised an exception" in caplog.text


def test_an_error_whose_own_text_fails_is_an_error_like_others():
    """Otherwise the verdict would fail, and the job would go to RabbitMQ's dead queue."""

    class OddError(Exception):
        def __str__(self):
            raise KeyError

    outcome = decide_outcome(OddError(), run(), policy())

    assert outcome.reason == "OddError: (its text cannot be made: KeyError)"


@pytest.mark.parametrize(
    ("errors", "options"),
    [
        ((), {}),
        (((OSError, KeyError),), {}),
        ((Snooze,), {}),
        ((RecordMissing,), {}),
        ((OSError,), {"attempts": 0}),
        ((OSError,), {"attempts": True}),
        ((OSError,), {"attempts": 3, "retry_for": MINUTE}),
        ((OSError,), {"retry_for": timedelta()}),
        ((OSError,), {"priority": 256}),
        ((OSError,), {"wait": "linear"}),
        ((OSError,), {"wait": timedelta(-1)}),
        ((OSError,), {"wait": timedelta(days=366)}),
    ],
)
def test_a_rule_that_could_never_hold_is_refused(errors, options):
    with pytest.raises(ValueError, match=r"RetryOn|attempts|wait|retry_for|priority|class|rule"):
        RetryOn(*errors, **options)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (((RetryOn(OSError),), (OSError,), ()), "OSError is in retry_on and discard_on"),
        (((RetryOn(OSError),), (), (OSError,)), "OSError is in retry_on and throws"),
        (((), (OSError,), (OSError,)), "OSError is in discard_on and throws"),
        (((OSError,), (), ()), r"write RetryOn\(OSError\)"),
        (((), ("OSError",), ()), "not an exception class"),
        (((RetryOn(OSError),) * MOST_GROUPS, (), ()), "64 groups, at most 63"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(rules, words):
    with pytest.raises(ValueError, match=words):
        check_rules(*rules)
