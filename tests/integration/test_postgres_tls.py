"""TLS to PostgreSQL: with `sslmode=verify-full`, whoever is not the server is refused."""

import contextlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

import psycopg
import pytest
import trustme

from brokers import schedule
from console.servers.account import account
from tests.faults.relaying import relaying
from tests.pooler import pooled
from workshed import db
from workshed.errors import DatabaseUnreachableError
from workshed.settings import settings

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def folder():
    """PostgreSQL reads its key as a user of its own, who alone may read it."""
    with tempfile.TemporaryDirectory(prefix="workshed-tls-") as name:
        account().give(Path(name))
        yield Path(name)


@pytest.fixture
def files(authority, folder):
    """`files(not_after=…)`: a certificate, and its key."""

    def make(**options):
        own = authority.issue_cert("localhost", **options)
        made = folder / "server.crt", folder / "server.key"
        for path, blobs in zip(made, (own.cert_chain_pems, [own.private_key_pem]), strict=True):
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(b"".join(blob.bytes() for blob in blobs))
            account().give(path)
        return made

    return make


@pytest.fixture
def serve(database, files, eventually):
    """`serve(not_after=…)`: a server of this database shows such a certificate; its URL.

    PostgreSQL itself where it was built with TLS, and PgBouncer before it where it was not.
    """
    with psycopg.connect(database, autocommit=True) as conn, contextlib.ExitStack() as stack:
        by_itself = conn.execute("SHOW ssl_library").fetchone() == ("OpenSSL",)

        def show(**options):
            certificate, key = files(**options)
            if by_itself:
                stack.callback(tell, conn, "RESET ssl", "RESET ssl_cert_file", "RESET ssl_key_file")
                tell(
                    conn,
                    f"SET ssl_cert_file = '{certificate}'",
                    f"SET ssl_key_file = '{key}'",
                    "SET ssl = on",
                )
                eventually(lambda: conn.execute("SHOW ssl").fetchone() == ("on",))
                return database
            tls = {"client_tls_cert_file": certificate, "client_tls_key_file": key}
            whole = pooled(
                database, eventually, pool_mode="session", client_tls_sslmode="require", **tls
            )
            return stack.enter_context(whole)

        yield show


def tell(conn, *changes):
    for change in changes:
        conn.execute(f"ALTER SYSTEM {change}")
    conn.execute("SELECT pg_reload_conf()")


@pytest.fixture
def ca(authority, tmp_path):
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def use(monkeypatch):
    """`use(url, ca)`: this process asks that server for a certificate of that authority."""

    def use(url, ca, host="localhost"):
        parts = urlsplit(url)
        netloc = f"{parts.netloc.rpartition('@')[0]}@{host}:{parts.port}"
        query = urlencode({"sslmode": "verify-full", "sslrootcert": str(ca)})
        url = urlunsplit(parts._replace(netloc=netloc, query=query))
        monkeypatch.setenv("WORKSHED_DATABASE_URL", url)
        settings.cache_clear()
        db.pool.cache_clear()

    yield use
    if db.pool.cache_info().currsize:
        db.pool().close()
    db.pool.cache_clear()


def test_jobs_are_stored_sent_and_run_by_tls(serve, ca, use, broker, actor, working, eventually):
    use(serve(), ca)
    runs = []

    @actor(queue_name="low", once=True)
    def note(number):
        with db.transaction() as conn:
            runs.append((number, conn.pgconn.ssl_in_use))

    with working("low", threads=1), relaying(broker.urls):
        with db.transaction() as conn:
            schedule.send(conn, note.message(1))
        eventually(lambda: runs, within_s=60)

    assert runs == [(1, True)]


def test_a_certificate_of_another_authority_is_refused(serve, use, tmp_path):
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    use(serve(), tmp_path / "other.pem")

    with pytest.raises(DatabaseUnreachableError, match="certificate verify failed"):
        db.connect()


def test_a_certificate_of_another_host_is_refused(serve, ca, use):
    use(serve(), ca, "127.0.0.1")

    with pytest.raises(DatabaseUnreachableError, match="does not match host name"):
        db.connect()


def test_a_certificate_that_has_expired_is_refused(serve, ca, use):
    use(serve(not_before=datetime.now(UTC) - 2 * DAY, not_after=datetime.now(UTC) - DAY), ca)

    with pytest.raises(DatabaseUnreachableError, match="certificate verify failed"):
        db.connect()


def test_a_server_without_tls_is_refused(database, ca, use):
    use(database, ca)

    with pytest.raises(DatabaseUnreachableError, match="server does not support SSL"):
        db.connect()
