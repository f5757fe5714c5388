"""Real worker processes, on the fresh database and virtual host of each test."""

import os

import pytest

from tests.companions import installed
from tests.library.e2e.leftovers import RQ, Shop
from tests.library.e2e.valkey import running_valkey
from tests.programs import mark_programs


def pytest_itemcollected(item):
    """`make test` runs a fifth of each module here; see `tests/lanes.py`."""
    mark_programs(item)


@pytest.fixture
def shop(environment, numbers, connect, tmp_path, database_url, broker):
    """An application that moves to Workshed, in the folder of this test."""
    env = {**os.environ, **environment, **numbers, "DATABASE_URL": database_url}
    return Shop(tmp_path, env, connect(autocommit=True))


@pytest.fixture
def redis_url(tmp_path):
    """The URL of a Redis (Valkey) of this test."""
    with running_valkey(tmp_path) as url:
        yield url


@pytest.fixture
def redis_shop(shop, redis_url):
    """An application that moves to Workshed, with a Redis and the packages of RQ."""
    paths = [str(installed(*RQ)), shop.env["PYTHONPATH"]]
    shop.env.update(REDIS_URL=redis_url, PYTHONPATH=os.pathsep.join(paths))
    return shop
