"""Addresses of sources: each is resolved once, checked, and then used for the whole exchange.

An allowed host name may be made to resolve to an internal address, where services such as a cloud's
metadata or a database trust every request from this host. So the addresses are checked, and the
connection goes to a checked address, even if the name resolves to another one a moment later.
"""

import socket
from ipaddress import IPv4Address, ip_address, ip_network

from shop.allowed_origins import Address, AllowedOrigins, parse_allowed_origins, parse_origin
from shop.sync.errors import ForbiddenAddressError, SourceUnreachableError

NAT64 = ip_network("64:ff9b::/96")


def require_allowed_origin(source: str, url: str, origins: str) -> AllowedOrigins:
    """Return the setting's entry for a URL's origin; raises `ForbiddenAddressError`."""
    try:
        origin = parse_origin(url)
    except ValueError as err:
        raise ForbiddenAddressError(source, str(err)) from None
    for one in parse_allowed_origins(origins):
        if one.origin == origin:
            return one
    raise ForbiddenAddressError(
        source, f"{origin} may not be asked: SHOP_SYNC_ORIGINS does not name it"
    )


def resolve(source: str, allowed: AllowedOrigins) -> list[str]:
    """Return the addresses of an origin, all of which are allowed.

    Raises `ForbiddenAddressError` if any of them is not allowed, because then the name server is
    not to be trusted with the others either, and `SourceUnreachableError` if there is none.
    """
    found = _look_up(source, allowed)
    for address in found:
        if not allowed.allows(_effective_address(address)):
            place = allowed.network or "the public Internet"
            raise ForbiddenAddressError(
                source,
                f"{allowed.origin.host} leads to {address}, which is not in {place}; a host inside "
                f"is allowed as {allowed.origin}=NETWORK",
            )
    return [str(address) for address in found]


def _look_up(source: str, allowed: AllowedOrigins) -> list[Address]:
    origin = allowed.origin
    if origin.address is not None:
        return [origin.address]
    try:
        answers = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except OSError as err:
        raise SourceUnreachableError(source, f"{origin.host} has no address: {err}") from err
    texts = dict.fromkeys(str(address[0]) for *_, address in answers)
    return [ip_address(text) for text in texts]


def _effective_address(address: Address) -> Address:
    """Return the address that a packet goes to; some IPv6 addresses stand for an IPv4 address."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address.teredo:
        inner = address.teredo[1]
    return inner or address
