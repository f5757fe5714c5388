"""One transaction of each kind of connection that Workshed writes on."""

import asyncio
import contextlib

import psycopg
import sqlalchemy
from django.db import connection as django_connection
from django.db import connections as django_connections
from django.db import transaction as django_transaction
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio

from tests.django_app import django_connected

# `with kind(url, commit=True) as (conn, execute, wait):` is one transaction of that kind.


@contextlib.contextmanager
def psycopg_sync(url, *, commit):
    with contextlib.closing(psycopg.connect(url)) as conn:
        yield conn, conn.execute, returned
        conn.commit() if commit else conn.rollback()


@contextlib.contextmanager
def psycopg_async(url, *, commit):
    with asyncio.Runner() as runner:
        conn = runner.run(psycopg.AsyncConnection.connect(url))
        yield conn, lambda query: runner.run(conn.execute(query)), runner.run
        runner.run(conn.commit() if commit else conn.rollback())
        runner.run(conn.close())


def django_kind(find):
    @contextlib.contextmanager
    def opened(url, *, commit):
        with django_connected(url), django_transaction.atomic():
            conn = find()
            yield conn, conn.cursor().execute, returned
            django_transaction.set_rollback(not commit)

    return opened


def sqlalchemy_kind(driver, find):
    @contextlib.contextmanager
    def opened(url, *, commit):
        engine = sqlalchemy.create_engine(of_driver(url, driver))
        with contextlib.closing(find(engine)) as conn:
            yield conn, lambda query: conn.execute(sqlalchemy.text(query)), returned
            conn.commit() if commit else conn.rollback()
        engine.dispose()

    return opened


def async_sqlalchemy_kind(driver, find):
    @contextlib.contextmanager
    def opened(url, *, commit):
        with asyncio.Runner() as runner:
            engine = sqlalchemy_asyncio.create_async_engine(of_driver(url, driver))
            conn = runner.run(find(engine))
            execute = conn.execute
            yield conn, lambda query: runner.run(execute(sqlalchemy.text(query))), runner.run
            runner.run(conn.commit() if commit else conn.rollback())
            runner.run(conn.close())
            runner.run(engine.dispose())

    return opened


def of_driver(url, driver):
    return sqlalchemy.make_url(url).set(drivername=f"postgresql+{driver}")


def returned(message):
    return message


def scoped(engine):
    return orm.scoped_session(orm.sessionmaker(engine))


async def async_connection(engine):
    return await engine.connect()


async def async_session(engine):
    return sqlalchemy_asyncio.AsyncSession(engine)


async def async_scoped(engine):
    sessions = sqlalchemy_asyncio.async_sessionmaker(engine)
    return sqlalchemy_asyncio.async_scoped_session(sessions, scopefunc=lambda: "all")


KINDS = {
    "psycopg": psycopg_sync,
    "psycopg async": psycopg_async,
    "django's connection": django_kind(lambda: django_connection),
    "one of django's connections": django_kind(lambda: django_connections["default"]),
    "sqlalchemy connection, psycopg": sqlalchemy_kind("psycopg", lambda engine: engine.connect()),
    "sqlalchemy session, psycopg2": sqlalchemy_kind("psycopg2", orm.Session),
    "sqlalchemy scoped session": sqlalchemy_kind("psycopg", scoped),
    "sqlalchemy async connection, psycopg": async_sqlalchemy_kind("psycopg", async_connection),
    "sqlalchemy async connection, asyncpg": async_sqlalchemy_kind("asyncpg", async_connection),
    "sqlalchemy async session, psycopg": async_sqlalchemy_kind("psycopg", async_session),
    "sqlalchemy async session, asyncpg": async_sqlalchemy_kind("asyncpg", async_session),
    "sqlalchemy async scoped session": async_sqlalchemy_kind("asyncpg", async_scoped),
}
