"""Users, their notifications, and a process that serves these."""

import secrets

import pytest

from tests.service.integration.notifications.reader import Reader
from tests.service.integration.notifications.served import Served
from workshed.contrib import notifications
from workshed.settings import settings

STREAMS = "workshed streams"


def pytest_itemcollected(item):
    """Mark tests that start a web server: `make test` runs a third, see `tests/lanes.py`."""
    if "serve" in item.fixturenames:
        item.add_marker(pytest.mark.one_in(3))


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKSHED_SECRET_KEY", secrets.token_urlsafe(32))
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path / 'storage'}")
    monkeypatch.setenv("WORKSHED_BROKER_URL", "stub://")
    settings.cache_clear()


@pytest.fixture
def people(connect):
    """`people(3)`: create users; returns their ids as text, as notifications have them."""

    def people(count):
        query = """
            INSERT INTO shop.users (name, email)
            SELECT 'Ada', md5(random()::text) || '@example.org' FROM generate_series(1, %s)
            RETURNING id
        """
        return [str(user_id) for (user_id,) in connect(autocommit=True).execute(query, (count,))]

    return people


@pytest.fixture
def ada(people):
    return people(1)[0]


@pytest.fixture
def tell(connect):
    """`tell(user_id, **data)`: notify a user and commit; returns the notification's number."""
    conn = connect()

    def tell(user_id, event="image_processed", key=None, **data):
        key = key or secrets.token_hex(8)
        number = notifications.notify(conn, user_id, event, data, key=key)
        conn.commit()
        return number

    return tell


@pytest.fixture
def serve(database, tmp_path, warm):
    """`serve(port=0, sweep_s=15, send_s=60)`: serve the page on the database of this test.

    `serve("-m", "uvicorn", …)`: serve it by Python with these arguments.
    """
    started = []

    def serve(*words, **options):
        log = tmp_path / f"served-{len(started)}.log"
        one = Served.started(log, *words) if words else Served.forked(warm, log, **options)
        started.append(one)
        return one

    yield serve
    for one in started:
        one.end()
        assert "Traceback" not in one.text()


@pytest.fixture
def served(serve):
    """A served page with so rare sweeps that they hide no lost notification."""
    return serve(sweep_s=1_000)


@pytest.fixture
def read(served):
    """`read(user_id, last=0)`: open a user's stream."""
    opened = []

    def read(user_id, **options):
        opened.append(Reader(served, notifications.token(user_id), **options))
        return opened[-1]

    yield read
    for reader in opened:
        reader.close()


@pytest.fixture
def backends(connect):
    """`backends()`: the listening connections, each with its last query."""
    conn = connect(autocommit=True)

    def backends():
        query = """
            SELECT pid, query FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = %s
        """
        return dict(conn.execute(query, (STREAMS,)).fetchall())

    return backends
