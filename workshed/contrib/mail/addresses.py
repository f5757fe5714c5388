"""Email addresses: which are accepted, and how each is written on the wire."""

import re
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from workshed.errors import InvalidAddressError
from workshed.extras import require_extra

if TYPE_CHECKING:
    from email_validator import ValidatedEmail

LONGEST_INPUT = 1_000
"""Characters. For some texts, normalizing takes time quadratic in their length."""
# Both parts are so short that the whole address cannot exceed its limits.
_PLAIN_LOCAL = re.compile(r"(?=.{1,64}\Z)[a-zA-Z0-9_+-]+(\.[a-zA-Z0-9_+-]+)*")
_PLAIN_DOMAIN = re.compile(r"[a-zA-Z0-9.-]{1,100}")


def normalize_address(address: str) -> str:
    """Return the canonical spelling under which an address is stored: lower-case domain, NFC.

    Raises `InvalidAddressError`. Does not check whether the domain accepts mail.
    """
    if len(address) > LONGEST_INPUT:
        raise InvalidAddressError(
            address, f"it has {len(address)} characters, at most 254 are allowed"
        )
    local, _, domain = address.rpartition("@")
    if (
        _PLAIN_LOCAL.fullmatch(local)
        and _PLAIN_DOMAIN.fullmatch(domain)
        and local.lower() not in _import_validator().rfc_constants.CASE_INSENSITIVE_MAILBOX_NAMES
    ):
        # Checking the parts takes a tenth of the time: most domains of a long list are cached.
        with suppress(InvalidAddressError):
            return f"{local}@{_normalize_domain(domain)}"
    return _parse(address).normalized


def encode_address(address: str) -> str:
    """Return the ASCII form if there is one.

    Without one (non-ASCII letters before the @), the mail server must support SMTPUTF8.
    """
    parsed = _parse(address)
    return parsed.ascii_email or parsed.normalized


@lru_cache(maxsize=10_000)
def _normalize_domain(domain: str) -> str:
    return _parse(f"x@{domain}").domain


def _parse(address: str) -> "ValidatedEmail":
    library = _import_validator()
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
def _import_validator() -> Any:
    """Import the email validator, an extra that the console does not need."""
    with require_extra("mail"):
        import email_validator.rfc_constants  # noqa: PLC0415 -- an extra
    return email_validator
