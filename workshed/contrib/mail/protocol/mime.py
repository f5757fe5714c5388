"""Build the message of a stored mail for a mail server."""

from collections.abc import Callable
from datetime import UTC
from email import utils
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

from workshed.contrib.mail import addresses, files
from workshed.contrib.mail.errors import RecipientRejectedError
from workshed.contrib.mail.files import File
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.contrib.mail.protocol.header_folding import POLICY
from workshed.contrib.mail.sender import get_sender
from workshed.contrib.mail.stored_mails import BULK, Email
from workshed.errors import InvalidAddressError

UnsubscribeLink = Callable[[str], str]
"""Returns the link by which a user, given by id, unsubscribes from bulk mails."""

MALFORMED_CODE = 553  # what a server would answer (RFC 5321, 4.2.2)


def build_envelope(email: Email, unsubscribe: UnsubscribeLink | None = None) -> Envelope:
    """Address the mail for its server; each call gives the same mail except for the MIME boundary.

    Raises `RecipientRejectedError` for an address that no server would accept, and what
    `files.read_file` raises.
    """
    try:
        recipient = addresses.encode_address(email.recipient)
    except InvalidAddressError as err:
        raise RecipientRejectedError(email.recipient, MALFORMED_CODE, err.reason) from err
    return Envelope(
        get_sender().addr_spec, recipient, build_message(email, recipient, unsubscribe).as_bytes()
    )


def build_message(
    email: Email, recipient: str, unsubscribe: UnsubscribeLink | None = None
) -> EmailMessage:
    """Build the message, with a plain text and, if the mail has one, an HTML body.

    Files that the HTML shows are attached to it; the others follow after both bodies.
    """
    written = EmailMessage(POLICY)
    written["From"] = get_sender()
    written["To"] = build_address(email.recipient_name, recipient)
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
        content, what = files.read_file(file), describe_file(file)
        if page is not None and file.content_id is not None:
            page.add_related(content, cid=f"<{file.content_id}>", disposition="inline", **what)
        else:
            written.add_attachment(content, **what)
    return written


def describe_file(file: File) -> dict[str, Any]:
    """Return the MIME type and name of a file; texts are UTF-8, and their bytes stay unchanged."""
    main, _, sub = file.media_type.partition("/")
    params = {"charset": "utf-8"} if main == "text" else {}
    return {"maintype": main, "subtype": sub, "filename": file.filename, "params": params}


def build_address(name: str, address: str) -> Address:
    """Combine a name and a valid address."""
    local, _, domain = address.rpartition("@")
    if local.startswith('"'):
        local = utils.unquote(local)  # `Address` quotes it again
    return Address(name, local, domain)
