"""A private certificate authority, its certificates, and servers that use them."""

import contextlib
import json
import secrets
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

import psycopg
import trustme

from tests.pooler import pooled
from workshed.devserver.account import server_account
from workshed.devserver.ports import HOST, find_free_ports

NAME = "localhost"
"""The name in the certificates; servers listen on `HOST`, for which they are not valid."""


class Authority:
    """An unknown authority; its files are readable by servers, which run as their own user."""

    def __init__(self, folder):
        self._folder = folder
        self._own = trustme.CA()
        self.file = self.write("ca.pem", self._own.cert_pem)

    def write(self, name, *blobs):
        """Write these blobs to a file of that name and return its path."""
        path = self._folder / name
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        path.chmod(0o644)
        return str(path)

    def issue(self, name=NAME, **span):
        """Return the `certfile` and `keyfile` of a new certificate."""
        own = self._own.issue_cert(name, **span)
        label = secrets.token_hex(4)  # RabbitMQ reads the files for each connection
        return {
            "certfile": self.write(f"{label}.pem", *own.cert_chain_pems),
            "keyfile": self.write(f"{label}-key.pem", own.private_key_pem),
        }

    def issue_expired(self):
        """Return the files of a certificate that was valid until yesterday."""
        now = datetime.now(UTC)
        span = {"not_before": now - timedelta(days=2), "not_after": now - timedelta(days=1)}
        return self.issue(**span)


@contextlib.contextmanager
def authority():
    """A new authority whose files are removed at the end."""
    with tempfile.TemporaryDirectory(prefix="workshed-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield Authority(folder)


def another(folder):
    """Return the file of an authority that has signed nothing."""
    path = folder / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


MUTUAL = {"verify": "verify_peer", "fail_if_no_peer_cert": "true"}
"""Refuse clients without a certificate."""


def listen(node, authority, files=None, *, verify="verify_none", **options):
    """Accept AMQP over TLS on one more port of a running node until it stops; return the port."""
    (port,) = find_free_ports(1)
    words = _options(authority, files, verify=verify, **options)
    place = f'{{"{HOST}",{port},inet}}'
    node.ctl("eval", f"ok = rabbit_networking:start_ssl_listener({place}, {words}, 2).")
    return port


def manage(node, authority, files=None, *, verify="verify_none", **options):
    """Serve the management API over TLS, as `management.ssl.port` does; return the port."""
    (port,) = find_free_ports(1)
    words = _options(authority, files, verify=verify, **options)
    place = f'[{{port,{port}}},{{ip,"{HOST}"}},{{ssl,true}},{{ssl_opts,{words}}}]'
    what = f'workshed_{port}, {place}, "", rabbit_mgmt_dispatcher:build_dispatcher([]), "by TLS"'
    node.ctl("eval", f"{{ok, _}} = rabbit_web_dispatch:register_context_handler({what}).")
    return port


def _options(authority, files, **options):
    paths = {"cacertfile": authority.file, **(files or authority.issue())}
    options |= {name: json.dumps(path) for name, path in paths.items()}
    return f"[{','.join(f'{{{name},{value}}}' for name, value in options.items())}]"


@contextlib.contextmanager
def postgres(database, files, eventually):
    """Let a server of this database present a certificate during the block; yields its URL.

    This is PostgreSQL itself if it was built with TLS, otherwise PgBouncer in front of it.
    """
    for path in map(Path, files.values()):  # a key readable by other users is refused
        path.chmod(0o600)
        server_account().make_owner(path)
    certificate, key = files["certfile"], files["keyfile"]
    with psycopg.connect(database, autocommit=True) as conn:
        by_itself = conn.execute("SHOW ssl_library").fetchone() == ("OpenSSL",)
        if not by_itself:
            tls = {"client_tls_cert_file": certificate, "client_tls_key_file": key}
            many = {"pool_mode": "session", "default_pool_size": 90}
            with pooled(database, eventually, client_tls_sslmode="require", **many, **tls) as url:
                yield url
            return
        try:
            _tell(conn, f"SET ssl_cert_file = '{certificate}'", f"SET ssl_key_file = '{key}'")
            _tell(conn, "SET ssl = on")
            eventually(lambda: conn.execute("SHOW ssl").fetchone() == ("on",))
            yield database
        finally:
            _tell(conn, "RESET ssl", "RESET ssl_cert_file", "RESET ssl_key_file")


def _tell(conn, *changes):
    for change in changes:
        conn.execute(f"ALTER SYSTEM {change}")
    conn.execute("SELECT pg_reload_conf()")


SCHEMES = {"amqp": "amqps", "http": "https"}


def by_tls(url, port, host=NAME, **options):
    """Return the URL of the same server over TLS, with these options after `?`."""
    parts = urlsplit(url)
    scheme = SCHEMES.get(parts.scheme, parts.scheme)
    place = f"{parts.netloc.rpartition('@')[0]}@{host}:{port}"
    return urlunsplit(parts._replace(scheme=scheme, netloc=place, query=urlencode(options)))


def verified(url, ca, host=NAME):
    """Return the URL of a PostgreSQL that must present a certificate of that authority and host."""
    return by_tls(url, urlsplit(url).port, host, sslmode="verify-full", sslrootcert=ca)
