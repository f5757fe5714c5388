"""An attempt to log in: the name, and where it comes from."""

from ipaddress import IPv6Address, IPv6Network, ip_address

from starlette.requests import Request

from workshed.console.web.auth import known_browsers
from workshed.jobs.control.console_sessions import SessionOrigin
from workshed.value_class import value_class

LONGEST_NAME = 200
LONGEST_BROWSER = 200
IPV6_PREFIX = 64
"""The part of an IPv6 address that a provider gives to one customer."""
UNKNOWN = "?"


@value_class
class LoginAttempt:
    """An attempt to log in."""

    name: str
    address: str
    browser: str
    browser_id: str | None
    """The id of the browser if this user has logged in there before."""

    @property
    def origin(self) -> SessionOrigin:
        """Where it comes from."""
        return SessionOrigin(self.address, self.browser)

    @property
    def network(self) -> str:
        """The address, or the part of an IPv6 address that one customer has."""
        return find_network(self.address)


def read_attempt(request: Request, name: str) -> LoginAttempt:
    """Return the attempt of a request."""
    known = known_browsers.read_browser(request)
    name = name[:LONGEST_NAME]
    return LoginAttempt(
        name,
        read_address(request),
        read_user_agent(request),
        known.id if known is not None and name in known.names else None,
    )


def read_address(request: Request) -> str:
    """Return the client's address, as a trusted proxy forwards it."""
    return request.client.host if request.client else UNKNOWN


def read_user_agent(request: Request) -> str:
    """Return the `User-Agent` of a request, cut to `LONGEST_BROWSER` characters."""
    return request.headers.get("user-agent", UNKNOWN)[:LONGEST_BROWSER]


def find_network(address: str) -> str:
    """Return an IPv4 address, the /64 of an IPv6 address, or any other text unchanged.

    Some proxies forward a port, too, which a client could vary.
    """
    host, _, port = address.rpartition(":")
    if port.isdecimal() and ("." in host or host.endswith("]")):
        address = host.strip("[]")
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    # Without the zone of a link-local address, which a client could vary.
    return str(IPv6Network((int(found), IPV6_PREFIX), strict=False))
