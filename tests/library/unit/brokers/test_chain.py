"""The middleware chain of an application: what it may contain and what it must contain."""

import pytest
from dramatiq.middleware import Middleware
from dramatiq.middleware import Retries as StockRetries

from workshed.app import App
from workshed.errors import SettingsError, WorkshedError
from workshed.middleware import (
    Deduplication,
    DiscardRecorder,
    Metrics,
    Outcome,
    Retries,
    Sentry,
)
from workshed.settings import Settings
from workshed.transport import build
from workshed.transport.build import CHAIN, OPTIONAL, Spans

CONFIG = Settings(broker_url="stub://")


class Mine(Middleware):
    """Middleware of an application."""


@pytest.fixture
def chain(monkeypatch):
    """`chain([…])`: the middleware of a process whose application has this chain."""

    def build_chain(entries):
        monkeypatch.setattr(build, "get_app", lambda: App(middleware="mine:CHAIN"))
        monkeypatch.setattr(build, "load_object", {"mine:CHAIN": entries}.get)
        return build.build_middleware(CONFIG)

    return build_chain


def test_by_default_the_chain_is_that_of_the_library(monkeypatch):
    monkeypatch.setattr(build, "get_app", App)

    assert [type(one) for one in build.build_middleware(CONFIG)] == [
        one for one in CHAIN if one is not Spans
    ]


def test_middleware_of_an_application_stands_where_it_was_put(chain):
    at = CHAIN.index(Metrics)
    mine = Mine()

    built = chain([*CHAIN[:at], mine, *CHAIN[at:]])

    assert built[[type(one) for one in built].index(Metrics) - 1] is mine


def test_a_class_of_the_library_may_be_replaced_by_one_that_inherits_from_it(chain):
    class OurDiscard(DiscardRecorder):
        """Middleware of an application."""

    ours = OurDiscard()

    assert ours in chain([ours if one is DiscardRecorder else one for one in CHAIN])


def test_a_class_that_is_made_from_the_settings_may_be_replaced_too(chain):
    class OurFence(Deduplication):
        """Middleware of an application."""

    built = chain([OurFence if one is Deduplication else one for one in CHAIN])

    (ours,) = (one for one in built if isinstance(one, OurFence))
    assert ours.retention == CONFIG.deduplication_retention


def test_what_a_subclass_writes_about_an_outcome_is_not_left_out():
    """Outcomes of several jobs are stored by one statement, which knows nothing of it."""

    class OurFence(Deduplication):
        """Middleware of an application."""

        def on_outcome(self, conn, job, outcome):
            """Write something else, too."""

    success = Outcome("succeeded")

    assert Deduplication(CONFIG.deduplication_retention).can_be_grouped(None, success)
    assert not OurFence(CONFIG.deduplication_retention).can_be_grouped(None, success)


def test_what_a_subclass_inherits_from_another_base_about_an_outcome_is_not_left_out():
    """Otherwise its `on_outcome` is called for some outcomes, and silently left out for others."""

    class Audit:
        """A part that several classes of an application share."""

        def on_outcome(self, conn, job, outcome):
            """Write something else."""

    class OurFence(Audit, Deduplication):
        """Middleware of an application."""

    success = Outcome("succeeded")

    assert not OurFence(CONFIG.deduplication_retention).can_be_grouped(None, success)


def test_middleware_that_only_observes_may_be_left_out(chain):
    built = chain([one for one in CHAIN if one not in OPTIONAL])

    assert not any(isinstance(one, Sentry | Metrics) for one in built)


@pytest.mark.parametrize("left_out", [one for one in CHAIN if one not in OPTIONAL])
def test_middleware_that_jobs_depend_on_may_not_be_left_out(chain, left_out):
    with pytest.raises(SettingsError, match=f"^the chain mine:CHAIN .* lacks {left_out.__name__};"):
        chain([one for one in CHAIN if one is not left_out])


def test_the_chain_keeps_its_order(chain):
    others = [one for one in CHAIN if one is not Deduplication]
    at = others.index(Retries) + 1

    with pytest.raises(SettingsError, match="has Expiry twice, or in another place"):
        chain([*others[:at], Deduplication, *others[at:]])


@pytest.mark.parametrize("again", [Deduplication, CHAIN[-1]])
def test_no_middleware_may_be_there_twice(chain, again):
    with pytest.raises(SettingsError, match=f"has {again.__name__} twice"):
        chain([*CHAIN, again])


def test_middleware_that_would_corrupt_is_refused_in_a_chain_too(chain, monkeypatch):
    built = chain([*CHAIN, StockRetries()])
    monkeypatch.setattr(build, "build_middleware", lambda _: built)

    with pytest.raises(WorkshedError, match="leave out Retries of dramatiq"):
        build.build_broker(CONFIG)
