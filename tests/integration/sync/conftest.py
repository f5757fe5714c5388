"""A source over real sockets, and what was made of it."""

import pytest

from console.demo.api import Api
from tests.integration.images.conftest import killed
from workshed import db, people, sync
from workshed.settings import settings

__all__ = ["killed"]


@pytest.fixture
def use(monkeypatch):
    """`use(SYNC_TIMEOUT="1")`: settings of this test."""

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"WORKSHED_{name}", value)
        settings.cache_clear()

    return change


@pytest.fixture
def api(use):
    """A source that is named in the settings, and wants a token."""
    with Api(token="sesame", page=3) as found:
        use(SYNC_ORIGINS=found.origin, SYNC_TOKENS="crm=sesame", SYNC_TIMEOUT="15")
        yield found


@pytest.fixture
def crm(jobs, api):
    """The source `crm`, with two admins who are told of it."""
    with db.transaction() as conn:
        for name in ("Ada", "Bob"):
            people.create(conn, name=name, email=f"{name.lower()}@example.org")
        people.create(conn, name="Cyd", email="cyd@example.org")
        conn.execute("UPDATE product.users SET activated_at = jobs.now(), admin = name <> 'Cyd'")
        people.create(conn, name="Dan", email="dan@example.org")
        conn.execute("UPDATE product.users SET admin = true WHERE name = 'Dan'")
        sync.add(conn, "crm", api.origin)
    return api


@pytest.fixture
def rows(database):
    """`rows("SELECT …")`."""

    def read(query, *args):
        with db.transaction() as conn:
            return conn.execute(query, args).fetchall()

    return read


@pytest.fixture
def kept(rows):
    """`kept()`: version by id of all that is there, and nothing that is gone."""

    def read():
        query = """
            SELECT external_id, version FROM product.sync_records
             WHERE deleted_at IS NULL AND version IS NOT NULL
        """
        return dict(rows(query))

    return read


@pytest.fixture
def log(rows):
    """`log()`: (id, change, version) of each line, in order."""

    def read():
        return rows("SELECT external_id, change, version FROM product.sync_log ORDER BY id")

    return read


@pytest.fixture
def state(database):
    """`state()`: the row of the source."""

    def read():
        with db.transaction() as conn:
            [found] = sync.find(conn)
        return found

    return read
