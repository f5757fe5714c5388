"""Mails that were caught in a folder instead of being sent to people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workshed.console.errors import NotFoundError
from workshed.console.web.view.page import ROWS, Action, Download, Downloaded, Page, PageRequest
from workshed.contrib.mail import caught_mail, maildir, received
from workshed.contrib.mail.errors import MailServerUnreachableError
from workshed.contrib.mail.maildir import MaildirEntry

HEAD_BYTES = 1 << 16
"""How much of a mail is searched for headers."""
MOST_BYTES = 10_000_000
"""How much of a mail is parsed; the rest is left out."""
LONGEST_TEXT = 200_000
"""Characters of a text or source that are shown."""
PAPER = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'; sandbox"
)
"""A mail may come from anyone: it runs nothing, requests nothing, and only our page shows it."""


def look(ask: PageRequest) -> Mapping[str, Any]:  # noqa: ARG001 -- mails are not rows
    """Show the latest caught mails."""
    folder = _folder()
    return {"folder": str(folder), "mails": [_listed(one) for one in maildir.newest(folder, ROWS)]}


def look_at_one(ask: PageRequest) -> Mapping[str, Any]:
    """Show one mail: its text, its attachments and its source."""
    found = _known(ask)
    content = _content(found, MOST_BYTES)
    letter = received.letter(content)
    source = content.decode("utf-8", "replace")
    return {
        "mail": _listed(found, content) | {"date": letter.headers.date},
        "text": letter.text and letter.text[:LONGEST_TEXT],
        "has_html": letter.html is not None,
        "attached": letter.attached,
        "source": source[:LONGEST_TEXT],
        "is_cut": found.size_bytes > len(content) or len(source) > LONGEST_TEXT,
    }


def html(ask: PageRequest) -> Downloaded:
    """Send the HTML of a mail as a document that can run and load nothing."""
    page = received.letter(_content(_known(ask), MOST_BYTES)).html
    if page is None:
        raise NotFoundError("This mail has no HTML.")
    return Downloaded("text/html", None, page.encode("utf-8", "replace"), PAPER)


def _folder() -> Path:
    found = caught_mail.folder()
    if found is None:
        raise NotFoundError("Mails are sent to their recipients here, and none is caught.")
    return found


def _known(ask: PageRequest) -> MaildirEntry:
    name = ask.text("id") or ""
    found = maildir.named(_folder(), name)
    if found is None:
        raise NotFoundError(f"There is no mail {name!r}.")
    return found


def _listed(found: MaildirEntry, content: bytes | None = None) -> dict[str, Any]:
    known = received.headers(_content(found, HEAD_BYTES) if content is None else content)
    return {
        "id": found.name,
        "at": found.at,
        "size_bytes": found.size_bytes,
        "subject": known.subject,
        "sender": known.sender,
        "recipient": known.recipient,
        "message_id": known.message_id,
    }


def _content(found: MaildirEntry, most_bytes: int) -> bytes:
    try:
        with found.path.open("rb") as file:
            return file.read(most_bytes)
    except OSError as err:
        raise MailServerUnreachableError(f"maildir:{found.path}", str(err)) from err


def _is_caught() -> bool:
    return caught_mail.folder() is not None


PAGES: tuple[Page, ...] = (
    Page(
        "/mail",
        "Mail",
        "mails.html",
        look,
        group="Tools",
        is_live=True,
        is_there=_is_caught,
    ),
    Page("/mail/one", "Mail", "mail.html", look_at_one, is_there=_is_caught),
)
ACTIONS: tuple[Action, ...] = ()
DOWNLOADS: tuple[Download, ...] = (Download("/mail/html", html, is_there=_is_caught),)
