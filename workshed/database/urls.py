"""URLs of PostgreSQL, which may name several hosts, each with its port."""

import importlib
import re

DEFAULT_PORT = "5432"


def split_hosts(url: str) -> list[str]:
    """Return a URL once for each of its hosts, because `urlsplit` reads no list of hosts."""
    parts = re.fullmatch(r"([\w+.-]+://(?:.*@)?)([^/?#]*)(.*)", url, re.DOTALL)
    if parts is None:
        return [url]
    begin, hosts, end = parts.groups()
    return [f"{begin}{host}{end}" for host in hosts.split(",")]


def list_servers(url: str) -> list[tuple[str, str]]:
    """Return host and port of each server, as libpq pairs them; a local socket has no host."""
    parts = importlib.import_module("psycopg.conninfo").conninfo_to_dict(url)
    hosts = str(parts.get("host") or parts.get("hostaddr") or "").split(",")
    ports = str(parts.get("port") or "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    return [(host, port or DEFAULT_PORT) for host, port in zip(hosts, ports, strict=False)]


def describe_address(url: str) -> str:
    """Return hosts, ports and name of a database, without its password."""
    name = importlib.import_module("psycopg.conninfo").conninfo_to_dict(url).get("dbname", "")
    servers = ",".join(f"{host or 'local socket'}:{port}" for host, port in list_servers(url))
    return f"{servers}/{name}"
