"""A source over real sockets, and the data synced from it."""

import contextlib

import pytest

from shop import people, sync
from shop.demo.faulty_api import FaultyApi
from shop.sync.errors import SourceError
from tests.service.integration.images.conftest import killed
from tests.service.variables import variable
from workshed import db
from workshed.settings import settings

__all__ = ["killed"]

SIX = "abcdef"
"""The records of `six`."""


@pytest.fixture
def use(monkeypatch):
    """`use(SYNC_TIMEOUT="1")`: settings of this test."""

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(variable(name), value)
        settings.cache_clear()

    return change


@pytest.fixture
def api(use):
    """A source that the settings allow and that requires a token."""
    with FaultyApi(token="sesame", page=3) as found:
        use(SYNC_ORIGINS=found.origin, SYNC_TOKENS="crm=sesame", SYNC_TIMEOUT="15")
        yield found


@pytest.fixture
def crm(jobs, api):
    """The source `crm`, with two admins who get its alerts."""
    with db.transaction() as conn:
        for name in ("Ada", "Bob"):
            people.create(conn, name=name, email=f"{name.lower()}@example.org")
        people.create(conn, name="Cyd", email="cyd@example.org")
        conn.execute("UPDATE shop.users SET activated_at = workshed.now(), admin = name <> 'Cyd'")
        people.create(conn, name="Dan", email="dan@example.org")
        conn.execute("UPDATE shop.users SET admin = true WHERE name = 'Dan'")
        sync.add(conn, "crm", api.origin)
    return api


@pytest.fixture
def rows(database):
    """`rows("SELECT …")`: the rows of a query."""

    def read(query, *args):
        with db.transaction() as conn:
            return conn.execute(query, args).fetchall()

    return read


@pytest.fixture
def kept(rows):
    """`kept()`: the version of each record by id, without deleted records."""

    def read():
        query = """
            SELECT external_id, version FROM shop.sync_records
             WHERE deleted_at IS NULL AND version IS NOT NULL
        """
        return dict(rows(query))

    return read


@pytest.fixture
def log(rows):
    """`log()`: (id, change, version) of each line, in order."""

    def read():
        return rows("SELECT external_id, change, version FROM shop.sync_log ORDER BY id")

    return read


@pytest.fixture
def state(database):
    """`state()`: the row of the source."""

    def read():
        with db.transaction() as conn:
            [found] = sync.list_sources(conn)
        return found

    return read


@pytest.fixture
def six(crm):
    """The source with six records on two pages; `b` belongs to `a`."""
    for name in SIX:
        crm.put(name, data={"letter": name}, associations=[("owner", "a")] if name == "b" else ())
    return crm


def sent(jobs, actor):
    return [job for job in jobs.enqueued if job.actor == actor.actor_name]


def drain(jobs):
    """Run all due jobs, whatever their outcomes."""
    with contextlib.suppress(SourceError):
        jobs.drain()


def fetch(name):
    """Fetch a record as its job does."""
    with db.transaction() as conn:
        leave = sync.acquire_permit(conn, "crm")
    return sync.fetch_record(leave, name)


def run_all(jobs):
    """Run all waiting jobs without the waits, until only periodic jobs are left."""
    for _ in range(60):
        drain(jobs)
        if not jobs.enqueued:
            return
        jobs.advance(hours=2)
    pytest.fail(f"still {jobs.enqueued}")
