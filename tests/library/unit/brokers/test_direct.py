"""`actor.perform_now(7)` runs a job at once, in the calling process."""

from datetime import timedelta

import dramatiq
import pytest

import workshed
from workshed.jobs import Discard, RecordMissing, Snooze
from workshed.middleware import RetryOn
from workshed.settings import Settings
from workshed.transport.build import build_broker
from workshed.transport.errors import InvalidArgumentError


class GoneError(Exception):
    """Nothing is left to do."""


class GoneForGoodError(GoneError):
    """A subclass that has a rule of its own."""


@pytest.fixture
def stub():
    return build_broker(Settings(broker_url="stub://"))


@pytest.fixture
def failing(stub):
    """`failing(error, discard_on=…)`: an actor that raises it."""

    def declare(error, **options):
        def job(user_id: int):
            raise error

        return dramatiq.actor(job, broker=stub, **options)

    return declare


def test_it_returns_what_the_actor_returns_and_sends_nothing(stub):
    @dramatiq.actor(broker=stub)
    def double(number: int, *, twice: bool = False):
        return number * (4 if twice else 2)

    assert double.perform_now(7) == 14
    assert double.perform_now(number=7, twice=True) == 28
    assert workshed.perform_now(double, 7) == 14
    assert stub.sent == []


@pytest.mark.parametrize("error", [RecordMissing("user", 999999), Discard("nothing to do")])
def test_a_missing_record_raises_nothing(failing, error, caplog):
    caplog.set_level("INFO", "workshed.transport.direct")

    assert failing(error).perform_now(999999) is None

    assert [record.message for record in caplog.records] == [f"job is discarded: {error}"]


def test_an_error_that_the_actor_discards_is_not_raised(failing):
    assert failing(GoneForGoodError(), discard_on=GoneError).perform_now(7) is None


def test_the_nearest_rule_decides_as_for_a_job(failing):
    rule = RetryOn(GoneForGoodError, attempts=3)

    with pytest.raises(GoneForGoodError):
        failing(GoneForGoodError(), discard_on=GoneError, retry_on=rule).perform_now(7)


@pytest.mark.parametrize("error", [ValueError("wrong"), Snooze(timedelta()), KeyboardInterrupt()])
def test_all_other_errors_reach_the_caller(failing, error):
    with pytest.raises(type(error)):
        failing(error, discard_on=GoneError).perform_now(7)


def test_arguments_are_checked_as_send_checks_them(failing):
    actor = failing(ZeroDivisionError())

    with pytest.raises(InvalidArgumentError, match="argument user_id"):
        actor.perform_now("7")
    with pytest.raises(InvalidArgumentError, match="missing a required argument"):
        actor.perform_now()


def test_an_async_actor_runs_to_its_end(stub):
    @dramatiq.actor(broker=stub)
    async def double(number: int):
        return number * 2

    assert double.perform_now(7) == 14
