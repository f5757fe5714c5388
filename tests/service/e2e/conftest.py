"""Programs of the service, as real processes."""

import pytest

from shop.__main__ import COMMANDS as SHOP
from tests.programs import mark_programs, printed


def pytest_itemcollected(item):
    """Mark the tests of a module here: `make test` runs a fifth, see `tests/lanes.py`."""
    mark_programs(item)


@pytest.fixture
def environment(environment):
    """Environment variables with which a process finds the servers of this test."""
    # So that the calendar starts no sync in the middle of a test.
    return {**environment, "SHOP_SYNC_EVERY": "31536000"}


@pytest.fixture
def start_worker(start_worker):
    """Start `dramatiq actors -p 1 -t 8`, or other workers; return once they are ready."""
    return lambda *modules, **how: start_worker(*(modules or ["actors"]), **how)


@pytest.fixture
def workshed(run_apart, environment):
    """`workshed("dead", "--json")` runs a command, also one of the shop's; returns its output."""

    def command(*words, code=0):
        module = "shop" if words[0] in SHOP else "workshed"
        return printed(run_apart, environment, module, *words, code=code)

    return command
