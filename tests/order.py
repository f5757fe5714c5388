"""In what order tests run: the long ones first, in all processes.

pytest-xdist gives each process an equal number of tests, one after the other as they were
collected. The end-to-end tests, of which some take minutes, would all be in one share, and the last
of them would run alone at the end.
"""

from itertools import groupby

import pytest

LONG = ("tests/e2e/", "tests/faults/")


@pytest.hookimpl(trylast=True)  # of those that the lane leaves
def pytest_collection_modifyitems(config, items):
    """Begin the share of each process with a part of the long tests."""
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    if processes > 1:
        items[:] = deal(items, processes)


def deal(items, processes):
    """The same tests in another order; those of a module stay together."""
    long = [item for item in items if item.nodeid.startswith(LONG)]
    others = iter([item for item in items if not item.nodeid.startswith(LONG)])
    shares = [[] for _ in range(processes)]
    modules = groupby(long, lambda item: item.nodeid.partition("::")[0])
    for number, (_, tests) in enumerate(modules):
        shares[number % processes] += tests
    left = len(items)
    for number, share in enumerate(shares):
        size = left // (processes - number)  # as pytest-xdist divides them
        while len(share) < size and (item := next(others, None)):
            share.append(item)
        left -= len(share)
    return [item for share in shares for item in share] + list(others)
