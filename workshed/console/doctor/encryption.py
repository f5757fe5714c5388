"""What leaves this host unencrypted, jobs and passwords alike: AMQP, HTTP and SQL without TLS."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, ok, warning
from workshed.transport.build import STUB

SURE = ("require", "verify-ca", "verify-full")
"""The others go on without TLS where the server has none, or somebody between says so."""
USUAL = "prefer"
AMQPS = "export WORKSHED_BROKER_URL=amqps://user:password@host:5671/vhost?cacertfile=/etc/ca.pem"
VERIFIED = (
    "export WORKSHED_DATABASE_URL='postgresql://…?sslmode=verify-full&sslrootcert=/etc/ca.pem'"
)
HTTPS = "export WORKSHED_MANAGEMENT_URL='https://user:password@host:15671?cacertfile=/etc/ca.pem'"


def rabbitmq(here: DoctorContext) -> Iterator[Finding]:
    """Look at where each URL leads, and how."""
    urls = [urlsplit(url) for url in here.urls if url != STUB]
    plain = [url.hostname or "" for url in urls if url.scheme == "amqp"]
    found = away(plain)
    if found:
        said = f"amqp:// sends jobs and the password unencrypted to {found}"
        yield warning(said, AMQPS)
    elif len(plain) < len(urls):
        yield ok("what leaves this host is encrypted")
    else:
        yield ok("no job leaves this host on its way there")


def management(here: DoctorContext) -> Iterator[Finding]:
    """Look at where its URL leads, and how."""
    named = here.settings.management_url
    url = urlsplit("" if named is None else named.get_secret_value())
    found = away([url.hostname or ""])
    if not found:
        yield ok("no question leaves this host on its way there")
    elif url.scheme == "http":
        yield warning(f"http:// sends the password unencrypted to {found}", HTTPS)
    else:
        yield ok("what leaves this host is encrypted")


def postgresql(here: DoctorContext) -> Iterator[Finding]:
    """Look at where the URL leads, with what libpq takes from its own variables, and how."""
    usual = {one.keyword.decode(): one.val.decode() for one in Conninfo.get_defaults() if one.val}
    known = usual | conninfo_to_dict(here.settings.database_url.get_secret_value())
    mode = str(known.get("sslmode", USUAL))
    found = away(str(known.get("hostaddr") or known.get("host") or "").split(","))
    if not found:
        yield ok("no row leaves this host on its way there")
    elif mode not in SURE:
        said = f"sslmode={mode} lets rows and the password go unencrypted to {found}"
        yield warning(said, VERIFIED)
    else:
        yield ok(f"what leaves this host is encrypted (sslmode={mode})")


def away(hosts: list[str]) -> str:
    """Name those that are not this host."""
    return ", ".join(host for host in hosts if not is_here(host))


def is_here(host: str) -> bool:
    """Tell whether a name is a socket file's or of the loopback interface; asks no resolver."""
    if not host or host[0] in "/@" or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
