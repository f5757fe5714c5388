"""Engines of the application lead to the database of the tests, whatever its URL is like."""

import asyncio
from urllib.parse import urlsplit

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from workshed.testing.engines import redirect_engines

NAME = sqlalchemy.text("SELECT current_database()")


@pytest.fixture
def several_hosts(database_url):
    """The URL of a database at the second of two hosts; the first does not answer."""
    host = urlsplit(database_url).netloc.rpartition("@")[2]
    return database_url.replace(host, f"127.0.0.1:1,{host}")


async def query_name(engine):
    async with engine.connect() as conn:
        return await conn.scalar(NAME)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_an_engine_tries_each_host(driver, several_hosts, database_url):
    engine = sqlalchemy.create_engine(f"postgresql+{driver}://elsewhere/shop")

    with redirect_engines([engine], lambda: several_hosts), engine.connect() as conn:
        assert f"/{conn.scalar(NAME)}" == urlsplit(database_url).path


def test_an_engine_of_asyncpg_tries_each_host(several_hosts, database_url):
    engine = create_async_engine("postgresql+asyncpg://elsewhere/shop")

    with redirect_engines([engine], lambda: several_hosts):
        assert f"/{asyncio.run(query_name(engine))}" == urlsplit(database_url).path
