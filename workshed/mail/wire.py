"""A stored mail as a mail server takes it."""

from datetime import UTC
from email import utils
from email.headerregistry import Address
from email.message import EmailMessage

from workshed.mail.emails import Email
from workshed.mail.envelope import Envelope
from workshed.mail.errors import RecipientRejectedError
from workshed.mail.folding import POLICY
from workshed.mail.sender import sender
from workshed.people import InvalidAddressError, addresses

MALFORMED = 553  # what a server would answer (RFC 5321, 4.2.2)


def envelope(email: Email) -> Envelope:
    """Address the mail for its server; the same each time but for the MIME boundary.

    Raises `RecipientRejectedError` for an address no server would take.
    """
    try:
        recipient = addresses.on_the_wire(email.recipient)
    except InvalidAddressError as err:
        raise RecipientRejectedError(email.recipient, MALFORMED, err.reason) from err
    return Envelope(sender().addr_spec, recipient, message(email, recipient).as_bytes())


def message(email: Email, recipient: str) -> EmailMessage:
    """Write the mail down, its text always in plain and, where it has one, in HTML."""
    written = EmailMessage(POLICY)
    written["From"] = sender()
    written["To"] = mailbox(email.recipient_name, recipient)
    written["Subject"] = email.subject
    written["Date"] = utils.format_datetime(email.created_at.astimezone(UTC))
    written["Message-ID"] = email.message_id
    # RFC 3834: out-of-office replies and the like leave it alone.
    written["Auto-Submitted"] = "auto-generated"
    written.set_content(email.text_body)
    if email.html_body is not None:
        written.add_alternative(email.html_body, subtype="html")
    return written


def mailbox(name: str, address: str) -> Address:
    """Put a name and a valid address together."""
    local, _, domain = address.rpartition("@")
    if local.startswith('"'):
        local = utils.unquote(local)  # `Address` quotes it again
    return Address(name, local, domain)
