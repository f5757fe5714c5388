"""TLS to PostgreSQL: with `sslmode=verify-full`, only the real server is accepted."""

import contextlib

import pytest

from tests import tls
from tests.faults.relaying import relaying
from workshed import db, schedule
from workshed.devserver.ports import HOST
from workshed.errors import DatabaseUnreachableError
from workshed.settings import settings


@pytest.fixture
def serve(database, authority, eventually):
    """`serve()`: a server for this database with a certificate, by default a valid one; its URL."""
    with contextlib.ExitStack() as stack:

        def show(files=None):
            files = files or authority.issue()
            return stack.enter_context(tls.postgres(database, files, eventually))

        yield show


@pytest.fixture
def use(monkeypatch):
    """`use(url, ca)`: this process connects there and accepts certificates of that authority."""

    def use(url, ca, host=tls.NAME):
        monkeypatch.setenv("WORKSHED_DATABASE_URL", tls.verified(url, ca, host))
        settings.cache_clear()
        db.forget_pool()

    yield use
    if db.has_pool():
        db.get_pool().close()
    db.forget_pool()


def test_jobs_are_stored_sent_and_run_over_tls(serve, ca, use, broker, actor, working, eventually):
    use(serve(), ca)
    runs = []

    @actor(queue_name="low", once=True)
    def note(number):
        with db.transaction() as conn:
            runs.append((number, conn.pgconn.ssl_in_use))

    with working("low", threads=1), relaying(broker.urls):
        with db.transaction() as conn:
            schedule.send(conn, note.message(1))
        eventually(lambda: runs)

    assert runs == [(1, True)]


def test_a_certificate_of_another_authority_is_refused(serve, use, tmp_path):
    use(serve(), tls.another(tmp_path))

    with pytest.raises(DatabaseUnreachableError, match="certificate verify failed"):
        db.connect()


def test_a_certificate_of_another_host_is_refused(serve, ca, use):
    use(serve(), ca, HOST)

    with pytest.raises(DatabaseUnreachableError, match="does not match host name"):
        db.connect()


def test_a_certificate_that_has_expired_is_refused(serve, authority, use):
    use(serve(authority.issue_expired()), authority.file)

    with pytest.raises(DatabaseUnreachableError, match="certificate verify failed"):
        db.connect()


def test_a_server_without_tls_is_refused(database, ca, use):
    use(database, ca)

    with pytest.raises(DatabaseUnreachableError, match="server does not support SSL"):
        db.connect()
