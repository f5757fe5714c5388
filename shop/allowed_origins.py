"""The hosts that may be called, as `SHOP_SYNC_ORIGINS` lists them."""

import re
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_PORTS = {"https": 443, "http": 80}
EXAMPLES = "https://host, https://host:port or https://host=network"


@dataclass(frozen=True, slots=True)
class AllowedOrigin:
    """A scheme, host and port; equal origins are the same server."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Format it as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == DEFAULT_PORTS[self.scheme]
        return f"{self.scheme}://{host}" + ("" if usual else f":{self.port}")

    @property
    def address(self) -> Address | None:
        """The host as an IP address; `None` if it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """An origin that may be called, and where it may be."""

    origin: AllowedOrigin
    network: Network | None
    """`None`: anywhere in the public Internet, or exactly at the IP address that is the host."""

    def allows(self, address: Address) -> bool:
        """Return whether the origin may have this address."""
        if self.network is not None:
            return address in self.network
        if self.origin.address is not None:
            return address == self.origin.address
        return address.is_global and not address.is_multicast


def parse_origin(url: str) -> AllowedOrigin:
    """Return the origin of a URL.

    Raises `ValueError` unless it is a plain HTTP URL: programs disagree on how to read one with a
    user, a password, a backslash or a space.
    """
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not like https://host/path")
    if "@" in parts.netloc or not url.isprintable() or re.search(r"[\s\\]", url):
        # The URL is not quoted, because it may have a password before the `@`.
        raise ValueError("the URL has a user, a space or a backslash in it")
    host = parts.hostname.rstrip(".")
    if "%" in host:
        raise ValueError(f"{url!r} names a network interface")
    if ":" not in host:
        host = host.encode("idna").decode("ascii")
    return AllowedOrigin(parts.scheme, host, parts.port or DEFAULT_PORTS[parts.scheme])


@cache
def parse_allowed_origins(text: str) -> tuple[AllowedOrigins, ...]:
    """Parse the setting; raises `ValueError` that names the invalid part."""
    found = []
    for part in text.split():
        url, _, network = part.partition("=")
        try:
            found.append(
                AllowedOrigins(parse_origin(url), ip_network(network) if network else None)
            )
        except ValueError as err:
            raise ValueError(f"{part!r} is not like {EXAMPLES}: {err}") from None
        if urlsplit(url)[2:] not in (("", "", ""), ("/", "", "")):
            raise ValueError(f"{part!r} is not like {EXAMPLES}: it has a path")
    return tuple(found)
