"""dramatiq's middleware: refused if it would corrupt jobs, and usable as a place in the chain."""

import re

import dramatiq
import pytest
from dramatiq.middleware import (
    AgeLimit,
    AsyncIO,
    Callbacks,
    CurrentMessage,
    GroupCallbacks,
    Middleware,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
    default_middleware,
)
from dramatiq.middleware.prometheus import Prometheus
from dramatiq.rate_limits.backends import StubBackend as Limits
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

from workshed.errors import WorkshedError
from workshed.middleware import Expiry, Metrics
from workshed.middleware.built_in import COUNTERPARTS, REFUSED_MIDDLEWARE
from workshed.settings import Settings
from workshed.transport.build import build_broker

STOCK = [
    AgeLimit(),
    AsyncIO(),
    Callbacks(),
    GroupCallbacks(Limits()),
    Pipelines(),
    Results(backend=StubBackend()),
    Retries(),
    ShutdownNotifications(),
    TimeLimit(),
]


class Mine(Middleware):
    """Middleware of an application."""


@pytest.fixture
def stub():
    return build_broker(Settings(broker_url="stub://"))


def names(broker):
    return [type(one).__name__ for one in broker.middleware]


@pytest.mark.parametrize("middleware", STOCK, ids=lambda one: type(one).__name__)
def test_middleware_that_would_corrupt_is_refused_with_an_alternative(stub, middleware):
    before = names(stub)

    with pytest.raises(WorkshedError) as refused:
        stub.add_middleware(middleware)

    assert re.match(f"leave out {type(middleware).__name__} of dramatiq: .+", str(refused.value))
    assert names(stub) == before


def test_dramatiqs_default_middleware_is_refused():
    """If a later release of dramatiq adds one, review it."""
    assert set(default_middleware) <= REFUSED_MIDDLEWARE.keys()
    assert {type(one) for one in STOCK} == REFUSED_MIDDLEWARE.keys()


def test_an_applications_subclass_of_it_is_refused_too(stub):
    class Patient(Retries):
        pass

    with pytest.raises(WorkshedError, match="leave out Patient, a Retries of dramatiq: retries"):
        stub.add_middleware(Patient())


@pytest.mark.parametrize("middleware", [CurrentMessage(), Prometheus()])
def test_middleware_that_works_is_added(stub, middleware):
    stub.add_middleware(middleware)

    assert stub.middleware[-1] is middleware


PLACES = {**COUNTERPARTS, Prometheus: Metrics}


@pytest.mark.parametrize("place", PLACES)
def test_a_class_of_dramatiqs_means_its_counterpart(stub, place):
    counterpart = PLACES[place].__name__

    stub.add_middleware(before := Mine(), before=place)
    stub.add_middleware(after := Mine(), after=place)

    where = names(stub).index(counterpart)
    assert stub.middleware[where - 1 : where + 2 : 2] == [before, after]


def test_one_of_ours_is_a_place_too(stub):
    stub.add_middleware(Mine(), before=Expiry)

    assert names(stub)[names(stub).index("Expiry") - 1] == "Mine"


def test_an_unknown_place_is_refused_with_a_list_of_the_known_ones(stub):
    with pytest.raises(WorkshedError, match=r"^Mine is not in the chain, .*: DatabasePool, Unsup"):
        stub.add_middleware(dramatiq.Middleware(), after=Mine)
