"""The retry rules of a run, from the options of its actor and its message."""

from datetime import timedelta

import dramatiq
import pytest

from workshed.middleware import Job, Retries, RetryOn, decide_outcome
from workshed.middleware.retrying.retries import run_facts
from workshed.settings import Settings
from workshed.transport.build import build_broker


@pytest.fixture
def outcome():
    """`outcome(error, attempt, message={…}, **options)`: of a run with these options."""
    stub = build_broker(Settings(broker_url="stub://"))
    retries = next(one for one in stub.middleware if isinstance(one, Retries))

    def reach(error, attempt=1, *, message=None, **options):
        actor = dramatiq.actor(broker=stub, actor_name="work", **options)(lambda: None)
        del stub.actors["work"]
        options = {**(message or {}), "attempt": attempt, "failures": {"*": attempt - 1}}
        job = Job(actor.message_with_options(**options), may_be_duplicate=False)
        return decide_outcome(error, run_facts(job), retries.policy(actor, job))

    return reach


def test_a_job_has_three_retries_by_default(outcome):
    found = [outcome(OSError(), attempt).kind for attempt in (1, 2, 3, 4)]

    assert found == ["retry", "retry", "retry", "dead"]


def test_the_first_wait_is_15_s_and_each_one_twice_as_long(outcome):
    waits = [outcome(OSError(), n).delay.total_seconds() for n in (1, 2, 3)]

    assert all(most * 0.75 <= wait <= most for wait, most in zip(waits, (15, 30, 60), strict=True))


@pytest.mark.parametrize("place", ["actor", "message"])
def test_dramatiqs_numbers_are_followed_on_an_actor_and_on_a_message(place, outcome):
    numbers = {"max_retries": 5, "min_backoff": 1_000, "max_backoff": 2_000}
    options = numbers if place == "actor" else {"message": numbers, "max_retries": 0}

    waits = [outcome(OSError(), attempt, **options).delay for attempt in (1, 2, 3, 4, 5)]

    assert timedelta(seconds=0.75) <= waits[0] <= timedelta(seconds=1)
    assert all(timedelta(seconds=1.5) <= wait <= timedelta(seconds=2) for wait in waits[1:])
    assert outcome(OSError(), 6, **options).kind == "dead"


def test_an_exponential_wait_of_a_group_follows_the_actors_numbers(outcome):
    found = outcome(OSError(), retry_on=RetryOn(OSError), min_backoff=1_000)

    assert found.delay <= timedelta(seconds=1)


def test_throws_and_retry_when_are_followed(outcome):
    assert outcome(KeyError(), throws=KeyError).kind == "dead"
    assert outcome(KeyError(), retry_when=lambda retries, error: retries < 0).kind == "dead"


def test_a_rule_that_contradicts_another_is_refused_with_its_actor(outcome):
    with pytest.raises(ValueError, match="work: OSError is in retry_on and discard_on"):
        outcome(OSError(), retry_on=RetryOn(OSError), discard_on=OSError)
