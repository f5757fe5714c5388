"""The address and login of a mail server, from its URL."""

from dataclasses import field
from typing import Self
from urllib.parse import unquote, urlsplit

from workshed.errors import SettingsError
from workshed.value_class import value_class

PLAIN_PORT = 25
SUBMISSION_PORT = 587
TLS_PORT = 465
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@value_class
class SmtpServer:
    """`smtp://` (STARTTLS when offered) or `smtps://` (TLS from the first byte)."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str = field(repr=False)
    must_encrypt: bool = False
    """Whether nothing may be sent to it unencrypted."""

    @classmethod
    def from_url(cls, url: str, *, must_encrypt: bool = False) -> Self:
        """Parse a URL; user and password are percent-encoded.

        Without a port: 465 for `smtps://`, else 587 with a user and 25 without. Raises
        `SettingsError`, which does not quote the URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise SettingsError("WORKSHED_SMTP_URL: host or port cannot be read") from None
        if not parts.hostname:
            raise SettingsError("WORKSHED_SMTP_URL: names no host")
        tls = parts.scheme == "smtps"
        usual = TLS_PORT if tls else SUBMISSION_PORT if parts.username else PLAIN_PORT
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password or "")
        return cls(parts.hostname, port or usual, tls, user, password, must_encrypt)

    @property
    def is_local(self) -> bool:
        """Whether what is sent to it stays on this machine."""
        return self.host in LOOPBACK

    def __str__(self) -> str:
        """Return its name for messages, without user and password."""
        return f"{self.host}:{self.port}"
