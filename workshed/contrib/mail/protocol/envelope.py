"""A mail as a mail server gets it: sender, recipient, and the mail itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Envelope:
    """A mail as it goes over the wire."""

    sender: str
    recipient: str
    payload: bytes
    """The whole message, each line ended by CRLF."""

    @property
    def needs_utf8(self) -> bool:
        """Whether an address has no ASCII form, so that the server must know SMTPUTF8."""
        return not (self.sender + self.recipient).isascii()
