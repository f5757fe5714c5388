"""dramatiq's own options: followed (tested in other files), or refused by name."""

import math
from datetime import date

import dramatiq
import pytest

from workshed.settings import Settings
from workshed.transport.build import build_broker
from workshed.transport.errors import InvalidOptionError, UndeclaredQueueError


@pytest.fixture
def declare():
    stub = build_broker(Settings(broker_url="stub://"))
    return lambda **options: dramatiq.actor(broker=stub, **options)(lambda number=0: None)


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        ({"max_age": 1000}, r"max_age= is not supported: set expires=timedelta"),
        ({"notify_shutdown": True}, r"notify_shutdown= is not supported: every job that outlives"),
        ({"pipe_target": {}}, r"pipe_target= is not supported: pipe messages"),
        ({"max_retries": None}, r"max_retries=None is not a whole number"),
        ({"max_retries": -1}, r"max_retries=-1 is not a whole number"),
        ({"max_backoff": 10**18}, r"max_backoff=1000000000000000000 is not a whole number"),
        ({"min_backoff": 1.5}, r"min_backoff=1\.5 is not a whole number"),
        ({"max_backoff": "1"}, r"max_backoff='1' is not a whole number"),
        ({"retry_when": True}, r"retry_when=True is not a function"),
        ({"throws": "KeyError"}, r"'KeyError' is not an exception class"),
        ({"on_success": 7}, r"on_success=7 is neither an actor nor its name"),
        ({"on_failure": 7}, r"on_failure=7 is neither an actor nor its name"),
        ({"on_retry_exhausted": 7}, r"on_retry_exhausted=7 is neither an actor nor its name"),
    ],
)
def test_unsupported_options_of_an_actor_are_refused_with_an_alternative(options, instead, declare):
    """If they were ignored, a job would not run as its author believes."""
    with pytest.raises(ValueError, match=instead):
        declare(actor_name="work", **options)


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        ({"max_age": 1000}, "set expires="),
        ({"notify_shutdown": True}, "WORKSHED_SHUTDOWN_GRACE"),
        ({"on_success": "other"}, "set on_success= on the actor"),
        ({"on_failure": "other"}, "set on_failure= on the actor"),
        ({"on_retry_exhausted": "other"}, "set on_retry_exhausted= on the actor"),
        ({"retry_when": "never"}, "set retry_when= on the actor"),
        ({"throws": "KeyError"}, "set throws= on the actor"),
        ({"retries": 3}, "the worker counts"),
        ({"max_retires": 3}, "did you mean 'max_retries'"),
    ],
)
def test_unsupported_options_of_a_message_are_refused_too(options, instead, declare):
    with pytest.raises(InvalidOptionError, match=instead):
        declare(actor_name="work").send_with_options(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": 5},
        {"min_backoff": 10, "max_backoff": 100},
        {"time_limit": 1000},
        {"pipe_ignore": True},
    ],
)
def test_supported_options_are_accepted_on_both(options, declare):
    declare(actor_name="work", **options).send_with_options(**options)


@pytest.mark.parametrize("inexact", [math.nan, date(2026, 1, 1), "\ud800"])
def test_a_piped_message_is_checked_when_the_pipeline_is_sent(inexact, declare):
    """If it were checked when its turn comes, the steps before it would have run for nothing."""
    work = declare(actor_name="work")

    with pytest.raises(InvalidOptionError, match="must be a message that can be sent"):
        dramatiq.pipeline([work.message(1), work.message(inexact)], broker=work.broker).run()


def test_a_queue_further_down_a_pipeline_must_be_declared(declare):
    work = declare(actor_name="work")
    messages = [work.message(1), work.message(), work.message().copy(queue_name="lwo")]

    with pytest.raises(UndeclaredQueueError, match="lwo"):
        dramatiq.pipeline(messages, broker=work.broker).run()
