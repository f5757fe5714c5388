"""A mail as it is sent to a mail server: sender, recipient, and the message."""

from workshed.value_class import value_class


@value_class
class Envelope:
    """A mail as it is sent to a mail server."""

    sender: str
    recipient: str
    payload: bytes
    """The whole message, with CRLF line ends."""

    @property
    def needs_utf8(self) -> bool:
        """Whether an address has no ASCII form, so that the server must support SMTPUTF8."""
        return not (self.sender + self.recipient).isascii()
