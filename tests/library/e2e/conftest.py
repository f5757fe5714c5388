"""Real worker processes, on the fresh database and virtual host of each test."""

from tests.programs import mark_programs


def pytest_itemcollected(item):
    """Of each module here, `make test` runs a fifth; see `tests/lanes.py`."""
    mark_programs(item)
