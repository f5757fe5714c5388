"""Each process begins with a part of the long tests."""

from types import SimpleNamespace

import pytest

from tests.order import deal

LONG = [f"tests/e2e/test_{module}.py::test_{n}" for module in "abcde" for n in range(3)]
SHORT = [f"tests/unit/test_x.py::test_{n}" for n in range(100)]


def ids(items):
    return [item.nodeid for item in items]


@pytest.mark.parametrize("processes", [2, 3, 5, 7])
def test_all_tests_run_once_and_the_long_ones_first(processes):
    items = [SimpleNamespace(nodeid=name) for name in LONG + SHORT]

    dealt = ids(deal(items, processes))

    assert sorted(dealt) == sorted(LONG + SHORT)
    first, rest = [], dealt
    for number in range(processes):  # as pytest-xdist divides them
        size = len(rest) // (processes - number)
        share, rest = rest[:size], rest[size:]
        long = [name for name in share if name in LONG]
        assert share[: len(long)] == long
        first.append({name.partition("::")[0] for name in long})
    assert max(map(len, first)) - min(map(len, first)) <= 1
    assert sum(map(len, first)) == 5, "a module stays in one process"


def test_few_short_tests_are_no_trouble():
    items = [SimpleNamespace(nodeid=name) for name in LONG + SHORT[:1]]

    assert sorted(ids(deal(items, 5))) == sorted(LONG + SHORT[:1])
