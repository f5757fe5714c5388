"""The sender of mails, from `WORKSHED_MAIL_FROM`."""

from email.headerregistry import Address
from email.utils import parseaddr
from functools import cache

from workshed.errors import SettingsError
from workshed.settings import settings


def get_sender() -> Address:
    """Return name and address; raises `SettingsError` if the setting contains none."""
    return parse_sender(settings().mail_from)


@cache
def parse_sender(text: str) -> Address:
    """Parse `Name <address>`, with the domain in its ASCII form."""
    name, address = parseaddr(text)
    local, _, domain = address.rpartition("@")
    if not (text.isprintable() and local and domain):
        raise SettingsError(f"WORKSHED_MAIL_FROM: {text!r} is not like Name <someone@example.org>")
    return Address(name, local, domain.encode("idna").decode("ascii"))
