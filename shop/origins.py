"""Which hosts may be asked, as `SHOP_SYNC_ORIGINS` says."""

import re
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = {"https": 443, "http": 80}
SHAPE = "https://host, https://host:port or https://host=network"


@dataclass(frozen=True, slots=True)
class AllowedOrigin:
    """A scheme, host and port; two of them are the same server."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Write it as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == PORTS[self.scheme]
        return f"{self.scheme}://{host}" + ("" if usual else f":{self.port}")

    @property
    def address(self) -> Address | None:
        """Its host, where that is an address and no name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """An origin that may be asked, and where it may be."""

    origin: AllowedOrigin
    network: Network | None
    """`None`: anywhere in the public Internet, or at the address that its host is."""

    def holds(self, address: Address) -> bool:
        """Tell whether it may be there."""
        if self.network is not None:
            return address in self.network
        if self.origin.address is not None:
            return address == self.origin.address
        return address.is_global and not address.is_multicast


def origin_of(url: str) -> AllowedOrigin:
    """Return where a URL leads.

    Raises `ValueError` for what is no plain URL of HTTP: a user or password in it, a backslash, a
    space are read one way by one program and another way by the next.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not like https://host/path")
    if "@" in parts.netloc or not url.isprintable() or re.search(r"[\s\\]", url):
        # Not quoted: what stands before the `@` may be a password.
        raise ValueError("the URL has a user, a space or a backslash in it")
    host = parts.hostname.rstrip(".")
    if "%" in host:
        raise ValueError(f"{url!r} names a network interface")
    if ":" not in host:
        host = host.encode("idna").decode("ascii")
    return AllowedOrigin(parts.scheme, host, parts.port or PORTS[parts.scheme])


@cache
def parse(text: str) -> tuple[AllowedOrigins, ...]:
    """Read the setting; raises `ValueError` that names what cannot be read."""
    found = []
    for part in text.split():
        url, _, network = part.partition("=")
        try:
            found.append(AllowedOrigins(origin_of(url), ip_network(network) if network else None))
        except ValueError as err:
            raise ValueError(f"{part!r} is not like {SHAPE}: {err}") from None
        if urlsplit(url)[2:] not in (("", "", ""), ("/", "", "")):
            raise ValueError(f"{part!r} is not like {SHAPE}: it has a path")
    return tuple(found)
