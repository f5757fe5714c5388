"""E-mail addresses: which are accepted, and how each is written on the wire."""

import re
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from workshed.errors import InvalidAddressError
from workshed.extras import needed

if TYPE_CHECKING:
    from email_validator import ValidatedEmail

LONGEST_READ = 1_000
"""Characters; normalizing takes the square of some texts' length."""
# Both so short that no limit of the whole can be passed.
_PLAIN_LOCAL = re.compile(r"(?=.{1,64}\Z)[a-zA-Z0-9_+-]+(\.[a-zA-Z0-9_+-]+)*")
_PLAIN_DOMAIN = re.compile(r"[a-zA-Z0-9.-]{1,100}")


def normalize(address: str) -> str:
    """Return the one spelling in which an address is stored: the domain lower case, NFC.

    Raises `InvalidAddressError`. Whether the domain takes mail is for its server to say.
    """
    if len(address) > LONGEST_READ:
        raise InvalidAddressError(address, f"it has {len(address)} characters, at most 254 fit")
    local, _, domain = address.rpartition("@")
    if (
        _PLAIN_LOCAL.fullmatch(local)
        and _PLAIN_DOMAIN.fullmatch(domain)
        and local.lower() not in _library().rfc_constants.CASE_INSENSITIVE_MAILBOX_NAMES
    ):
        # By its parts it takes a tenth: few domains of a long list are new.
        with suppress(InvalidAddressError):
            return f"{local}@{_domain(domain)}"
    return _parse(address).normalized


def on_the_wire(address: str) -> str:
    """Return the ASCII form where there is one.

    Without one (letters outside ASCII before the @) the server must support SMTPUTF8.
    """
    parsed = _parse(address)
    return parsed.ascii_email or parsed.normalized


@lru_cache(maxsize=10_000)
def _domain(domain: str) -> str:
    return _parse(f"x@{domain}").domain


def _parse(address: str) -> "ValidatedEmail":
    library = _library()
    try:
        parsed: ValidatedEmail = library.validate_email(
            address,
            allow_quoted_local=True,
            check_deliverability=False,
            test_environment=True,  # or `.test` would be refused
        )
    except library.EmailNotValidError as err:
        raise InvalidAddressError(address, str(err)) from None
    return parsed


@cache
def _library() -> Any:
    """Import what judges addresses: an extra, which the console does without."""
    with needed("mail"):
        import email_validator.rfc_constants  # noqa: PLC0415 -- an extra
    return email_validator
