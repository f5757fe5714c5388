"""Which addresses are proxies, and which count as one client."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from workshed.errors import SettingsError

NO_PROXIES = "none"
"""The setting of a console that browsers reach directly."""
CLIENT_PREFIX = 64
"""Bits of an IPv6 address that identify a client, who usually has all addresses with them."""


class Proxies:
    """The networks of trusted proxies."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        """Take the networks; without any, no proxy is trusted."""
        self._networks = networks

    @classmethod
    def parse(cls, text: str) -> "Proxies":
        """Parse addresses and networks that are separated by `,`; raises `SettingsError`."""
        if text.strip() in ("", NO_PROXIES):
            return cls(())
        try:
            return cls([ip_network(part.strip()) for part in text.split(",")])
        except ValueError as err:
            raise SettingsError(
                f"the proxies of the console cannot be read: {err}; name addresses or networks, "
                f"for example 10.0.0.0/8, or `{NO_PROXIES}`"
            ) from None

    def __contains__(self, host: str) -> bool:
        """Return whether an address is that of a proxy."""
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def __bool__(self) -> bool:
        """Return whether any proxy is trusted."""
        return bool(self._networks)

    def __str__(self) -> str:
        """Return the networks as uvicorn reads them."""
        return ",".join(map(str, self._networks))

    def client_of(self, host: str) -> str | None:
        """Return the client at an address; `None` for a proxy, which has many clients."""
        if not host or host in self:
            return None
        try:
            address = ip_address(host)
        except ValueError:
            return host
        if not isinstance(address, IPv6Address):
            return host
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), CLIENT_PREFIX), strict=False))


def require_answer(host: str, proxies: str) -> None:
    """Raise `SettingsError` if other machines can connect, and no setting says by which proxy.

    Otherwise all users behind a proxy would have its address, and cookies would not be `Secure`.
    """
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not (is_local or proxies.strip()):
        raise SettingsError(
            f"--host {host} lets other machines connect: name the proxies in front of the console "
            "by WORKSHED_CONSOLE_PROXIES or --proxies, for example 10.0.0.0/8, or "
            f"`{NO_PROXIES}` if browsers connect directly"
        )
