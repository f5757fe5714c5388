"""docs/middleware.md: its example, the middleware of an application."""

import importlib
import sys

import pytest

from tests import pages
from workshed import broker
from workshed.transport.errors import InvalidOptionError

[(NAME, TEXT)] = pages.files("docs/middleware.md").items()


@pytest.fixture
def tenancy(database, actor, tmp_path, monkeypatch):
    """The module of the page."""
    (tmp_path / NAME).write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)
    chain = list(broker.middleware)
    yield importlib.import_module("tenancy")
    del sys.modules["tenancy"]
    broker.middleware[:] = chain
    broker.actor_options.discard("tenant")
    broker.added_options.discard("tenant")
    broker._hooks.clear()


def test_a_job_knows_the_tenant_of_its_sender(tenancy, jobs, capsys):
    tenancy.tenant.set("acme")
    tenancy.greet.send("Ada")
    tenancy.tenant.set(None)
    tenancy.greet.send_with_options(args=("Grace",), tenant="globex")
    jobs.drain()

    assert capsys.readouterr().out.splitlines() == ["Ada of acme", "Grace of globex"]
    assert tenancy.tenant.get() is None


def test_a_job_of_a_tenant_that_has_left_is_skipped(tenancy, jobs, capsys):
    tenancy.greet.send_with_options(args=("Peter",), tenant="initech")
    jobs.drain()
    [run] = jobs.runs

    assert run.outcome.kind == "skipped"
    assert run.outcome.reason == "skipped by Tenancy: the tenant has left"
    assert capsys.readouterr().out == ""


def test_an_option_that_it_does_not_name_is_refused(tenancy, jobs):
    with pytest.raises(InvalidOptionError, match="did you mean 'tenant'"):
        tenancy.greet.send_with_options(args=("Ada",), tenent="acme")
