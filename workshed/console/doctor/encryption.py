"""Check that AMQP, HTTP and SQL connections to other hosts use TLS."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.finding import Finding, ok, warning
from workshed.transport.build import STUB_URL

ENCRYPTED_MODES = ("require", "verify-ca", "verify-full")
"""With the other modes, a server without TLS, or an attacker in between, turns encryption off."""
DEFAULT_MODE = "prefer"
AMQPS = "export WORKSHED_BROKER_URL=amqps://user:password@host:5671/vhost?cacertfile=/etc/ca.pem"
VERIFY_FULL = (
    "export WORKSHED_DATABASE_URL='postgresql://…?sslmode=verify-full&sslrootcert=/etc/ca.pem'"
)
HTTPS = "export WORKSHED_MANAGEMENT_URL='https://user:password@host:15671?cacertfile=/etc/ca.pem'"


def check_amqp_tls(here: DoctorContext) -> Iterator[Finding]:
    """Check the URLs of RabbitMQ."""
    urls = [urlsplit(url) for url in here.urls if url != STUB_URL]
    plain = [url.hostname or "" for url in urls if url.scheme == "amqp"]
    found = join_remote_hosts(plain)
    if found:
        said = f"amqp:// sends jobs and the password unencrypted to {found}"
        yield warning(said, AMQPS)
    elif len(plain) < len(urls):
        yield ok("connections to other hosts are encrypted")
    else:
        yield ok("no connection to RabbitMQ leaves this host")


def check_management_tls(here: DoctorContext) -> Iterator[Finding]:
    """Check the URL of the management API."""
    named = here.settings.management_url
    url = urlsplit("" if named is None else named.get_secret_value())
    found = join_remote_hosts([url.hostname or ""])
    if not found:
        yield ok("no connection to the management API leaves this host")
    elif url.scheme == "http":
        yield warning(f"http:// sends the password unencrypted to {found}", HTTPS)
    else:
        yield ok("connections to other hosts are encrypted")


def check_postgresql_tls(here: DoctorContext) -> Iterator[Finding]:
    """Check the URL of PostgreSQL, together with libpq's own environment variables."""
    usual = {one.keyword.decode(): one.val.decode() for one in Conninfo.get_defaults() if one.val}
    known = usual | conninfo_to_dict(here.settings.database_url.get_secret_value())
    mode = str(known.get("sslmode", DEFAULT_MODE))
    found = join_remote_hosts(str(known.get("hostaddr") or known.get("host") or "").split(","))
    if not found:
        yield ok("no connection to PostgreSQL leaves this host")
    elif mode not in ENCRYPTED_MODES:
        said = f"sslmode={mode} may send rows and the password unencrypted to {found}"
        yield warning(said, VERIFY_FULL)
    else:
        yield ok(f"connections to other hosts are encrypted (sslmode={mode})")


def join_remote_hosts(hosts: list[str]) -> str:
    """Return the names of the hosts other than this one, joined by commas."""
    return ", ".join(host for host in hosts if not is_local(host))


def is_local(host: str) -> bool:
    """Return whether a name is a socket's or of the loopback interface; resolves no names."""
    if not host or host[0] in "/@" or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
