"""Mails that were caught in a folder instead of being sent to people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workshed.console.errors import NotFoundError
from workshed.console.web.view.page import (
    ROWS,
    Action,
    Download,
    DownloadContent,
    Page,
    PageRequest,
)
from workshed.contrib.mail import caught_mail, maildir, parsed_mail
from workshed.contrib.mail.errors import MailServerUnreachableError
from workshed.contrib.mail.maildir import MaildirEntry

HEAD_BYTES = 1 << 16
"""How much of a mail is searched for headers."""
MOST_BYTES = 10_000_000
"""How much of a mail is parsed; the rest is left out."""
LONGEST_TEXT = 200_000
"""Characters of a text or source that are shown."""
CONTENT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'; sandbox"
)
"""A mail may come from anyone: it runs nothing, requests nothing, and only our page shows it."""


def load_list(ask: PageRequest) -> Mapping[str, Any]:  # noqa: ARG001 -- mails are not rows
    """Show the latest caught mails."""
    folder = _require_folder()
    return {
        "folder": str(folder),
        "mails": [_summarize(one) for one in maildir.list_newest(folder, ROWS)],
    }


def load_detail(ask: PageRequest) -> Mapping[str, Any]:
    """Show one mail: its text, its attachments and its source."""
    found = _require_mail(ask)
    content = _read_content(found, MOST_BYTES)
    letter = parsed_mail.parse_mail(content)
    source = content.decode("utf-8", "replace")
    return {
        "mail": _summarize(found, content) | {"date": letter.headers.date},
        "text": letter.text and letter.text[:LONGEST_TEXT],
        "has_html": letter.html is not None,
        "attached": letter.attachments,
        "source": source[:LONGEST_TEXT],
        "is_cut": found.size_bytes > len(content) or len(source) > LONGEST_TEXT,
    }


def load_html(ask: PageRequest) -> DownloadContent:
    """Send the HTML of a mail as a document that can run and load nothing."""
    page = parsed_mail.parse_mail(_read_content(_require_mail(ask), MOST_BYTES)).html
    if page is None:
        raise NotFoundError("This mail has no HTML.")
    return DownloadContent("text/html", None, page.encode("utf-8", "replace"), CONTENT_POLICY)


def _require_folder() -> Path:
    found = caught_mail.find_maildir()
    if found is None:
        raise NotFoundError("Mails are sent to their recipients here, and none is caught.")
    return found


def _require_mail(ask: PageRequest) -> MaildirEntry:
    name = ask.text("id") or ""
    found = maildir.find_mail(_require_folder(), name)
    if found is None:
        raise NotFoundError(f"There is no mail {name!r}.")
    return found


def _summarize(found: MaildirEntry, content: bytes | None = None) -> dict[str, Any]:
    known = parsed_mail.parse_headers(
        _read_content(found, HEAD_BYTES) if content is None else content
    )
    return {
        "id": found.name,
        "at": found.at,
        "size_bytes": found.size_bytes,
        "subject": known.subject,
        "sender": known.sender,
        "recipient": known.recipient,
        "message_id": known.message_id,
    }


def _read_content(found: MaildirEntry, most_bytes: int) -> bytes:
    try:
        with found.path.open("rb") as file:
            return file.read(most_bytes)
    except OSError as err:
        raise MailServerUnreachableError(f"maildir:{found.path}", str(err)) from err


def _has_maildir() -> bool:
    return caught_mail.find_maildir() is not None


PAGES: tuple[Page, ...] = (
    Page(
        "/mail",
        "Mail",
        "mails.html",
        load_list,
        group="Tools",
        is_live=True,
        is_available=_has_maildir,
    ),
    Page("/mail/one", "Mail", "mail.html", load_detail, is_available=_has_maildir),
)
ACTIONS: tuple[Action, ...] = ()
DOWNLOADS: tuple[Download, ...] = (Download("/mail/html", load_html, is_available=_has_maildir),)
