"""Replies of a mail server, and the errors that follow from them."""

from typing import Self

from workshed.contrib.mail.errors import (
    CONNECTION,
    MailError,
    MailLoginRefusedError,
    MailRefusedError,
    MailServerUnreachableError,
    MailTemporarilyRefusedError,
)
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.value_class import value_class

SERVICE_CLOSING = 421
LOGIN_CODES = frozenset({530, 534, 535, 538})
MAX_TEXT = 500


@value_class
class Reply:
    """A reply of the server."""

    code: int
    text: str

    @classmethod
    def parse(cls, code: int, text: bytes | str) -> Self:
        """Keep the text in a form to log and store: one line, printable, of limited length."""
        line = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return cls(code, "".join(c if c.isprintable() else " " for c in line)[:MAX_TEXT])

    @property
    def is_success(self) -> bool:
        """Whether the server accepts (2xx)."""
        return 200 <= self.code < 300  # noqa: PLR2004 -- SMTP's classes of replies

    @property
    def is_failure(self) -> bool:
        """Whether the server refuses, temporarily (4xx) or permanently (5xx)."""
        return 400 <= self.code < 600  # noqa: PLR2004

    def to_error(self, server: SmtpServer, step: str) -> MailError:
        """Return the error for this reply."""
        if self.code == SERVICE_CLOSING or not self.is_failure:
            said = f"it answered {step} with {self.code} {self.text}"
            is_leaving = self.code == SERVICE_CLOSING
            return MailServerUnreachableError(str(server), said, CONNECTION if is_leaving else step)
        if self.code in LOGIN_CODES:
            return MailLoginRefusedError(str(server), f"{self.code} {self.text}")
        if self.code < 500:  # noqa: PLR2004
            return MailTemporarilyRefusedError(step, self.code, self.text)
        return MailRefusedError(step, self.code, self.text)
