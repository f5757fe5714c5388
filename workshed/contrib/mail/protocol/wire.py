"""Build the message of a stored mail for a mail server."""

from collections.abc import Callable
from datetime import UTC
from email import utils
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

from workshed import addresses
from workshed.contrib.mail import files
from workshed.contrib.mail.emails import BULK, Email
from workshed.contrib.mail.errors import RecipientRejectedError
from workshed.contrib.mail.files import File
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.contrib.mail.protocol.folding import POLICY
from workshed.contrib.mail.sender import sender
from workshed.errors import InvalidAddressError

LinkFor = Callable[[str], str]
"""Returns the link by which a user, given by id, unsubscribes from bulk mails."""

MALFORMED = 553  # what a server would answer (RFC 5321, 4.2.2)


def envelope(email: Email, unsubscribe: LinkFor | None = None) -> Envelope:
    """Address the mail for its server; each call gives the same mail except for the MIME boundary.

    Raises `RecipientRejectedError` for an address that no server would accept, and what
    `files.read` raises.
    """
    try:
        recipient = addresses.on_the_wire(email.recipient)
    except InvalidAddressError as err:
        raise RecipientRejectedError(email.recipient, MALFORMED, err.reason) from err
    return Envelope(
        sender().addr_spec, recipient, message(email, recipient, unsubscribe).as_bytes()
    )


def message(email: Email, recipient: str, unsubscribe: LinkFor | None = None) -> EmailMessage:
    """Build the message, with a plain text and, if the mail has one, an HTML body.

    Files that the HTML shows are attached to it; the others follow after both bodies.
    """
    written = EmailMessage(POLICY)
    written["From"] = sender()
    written["To"] = mailbox(email.recipient_name, recipient)
    written["Subject"] = email.subject
    written["Date"] = utils.format_datetime(email.created_at.astimezone(UTC))
    written["Message-ID"] = email.message_id
    # RFC 3834: prevents automatic answers such as out-of-office replies.
    written["Auto-Submitted"] = "auto-generated"
    if email.priority == BULK and email.user_id is not None and unsubscribe is not None:
        link = unsubscribe(email.user_id)
        written["List-Unsubscribe"] = f"<{link}>"
        if link.startswith("https:"):  # RFC 8058: mail programs then show a one-click button
            written["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    written.set_content(email.text_body)
    if email.html_body is not None:
        written.add_alternative(email.html_body, subtype="html")
    page = written.get_body(("html",))
    for file in email.files:
        content, what = files.read(file), kind(file)
        if page is not None and file.content_id is not None:
            page.add_related(content, cid=f"<{file.content_id}>", disposition="inline", **what)
        else:
            written.add_attachment(content, **what)
    return written


def kind(file: File) -> dict[str, Any]:
    """Return the MIME type and name of a file; texts are UTF-8, and their bytes stay unchanged."""
    main, _, sub = file.media_type.partition("/")
    params = {"charset": "utf-8"} if main == "text" else {}
    return {"maintype": main, "subtype": sub, "filename": file.filename, "params": params}


def mailbox(name: str, address: str) -> Address:
    """Combine a name and a valid address."""
    local, _, domain = address.rpartition("@")
    if local.startswith('"'):
        local = utils.unquote(local)  # `Address` quotes it again
    return Address(name, local, domain)
