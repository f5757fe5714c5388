"""Real worker processes, on the fresh database and virtual host of each test."""

from tests.programs import mark_programs


def pytest_itemcollected(item):
    """`make test` runs a fifth of each module here; see `tests/lanes.py`."""
    mark_programs(item)
