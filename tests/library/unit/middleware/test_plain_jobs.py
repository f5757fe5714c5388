"""What is not asked about a plain job must have nothing to say about it."""

from datetime import timedelta

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from workshed.middleware import (
    SUCCEEDED,
    Batches,
    Deduplication,
    Job,
    Limit,
    Limits,
    OncePerMessage,
    OutcomeMiddleware,
    Unique,
    Uniqueness,
    plain_jobs,
)
from workshed.middleware.retrying.expiry import Expiry
from workshed.settings import Settings
from workshed.transport import build

OPTIONS = {
    "plain": ({}, set()),
    "unique": ({"unique": Unique()}, {Uniqueness}),
    "limited": ({"limit": Limit.concurrent(2, name="slots")}, {Limits}),
    "expiring": ({"expires": timedelta(hours=1)}, {Expiry}),
    "once": ({"once": True}, {OncePerMessage}),
}
ASKED = (Deduplication, Expiry, Limits, OncePerMessage, Uniqueness)


@pytest.fixture
def chain():
    """All middleware of a worker."""
    return build.build_middleware(Settings(broker_url="stub://"))


@pytest.fixture
def declare(chain):
    """`declare(unique=…)`: an actor with these options, on a broker with the chain."""
    broker = StubBroker(middleware=chain)

    def declared(**options):
        return dramatiq.actor(lambda: None, broker=broker, actor_name="task", **options)

    return declared


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_check_runs_only_where_its_option_is(kind, chain, declare):
    options, wanted = OPTIONS[kind]
    actor = declare(**options)
    checks = {type(one): one.before_process_message for one in chain}

    assert {cls for cls in ASKED if plain_jobs.may_check(checks[cls], actor)} == wanted


def test_middleware_that_is_not_asked_writes_nothing(chain, declare):
    actor = declare()
    job = Job(actor.message(), may_be_duplicate=False)
    writers = [one for one in chain if isinstance(one, OutcomeMiddleware)]
    skipped = [one for one in writers if not plain_jobs.may_write(one, actor)]

    assert job.is_plain
    assert {Deduplication, Limits, Uniqueness, Batches} <= {type(one) for one in skipped}
    assert not [one for one in skipped if one.handles(job, SUCCEEDED)]


@pytest.mark.parametrize("kind", ["unique", "limited"])
def test_middleware_is_asked_for_the_actors_that_it_concerns(kind, chain, declare):
    options, [wanted] = OPTIONS[kind]
    actor = declare(**options)
    [one] = [one for one in chain if type(one) is wanted]

    assert plain_jobs.may_write(one, actor)


def test_what_an_application_overrides_is_always_asked(declare):
    """The answer of the class that it inherits from is not about its own method."""

    class OurDeduplication(Deduplication):
        def before_process_message(self, broker, message):
            """Do more."""

        def handles(self, job, outcome):
            """Write more."""
            return True

    ours, actor = OurDeduplication(timedelta(days=1)), declare()

    assert plain_jobs.may_check(ours.before_process_message, actor)
    assert plain_jobs.may_write(ours, actor)


def test_a_function_of_an_application_is_always_asked(declare):
    assert plain_jobs.may_check(lambda broker, message: None, declare())


def test_a_job_with_an_option_or_a_copy_is_not_plain(declare):
    actor = declare()

    assert not Job(actor.message(), may_be_duplicate=True).is_plain
    assert not Job(actor.message_with_options(pipe_ignore=True), may_be_duplicate=False).is_plain
