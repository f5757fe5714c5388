"""Mails as files in a maildir: the default on a laptop, readable by any mail program."""

import contextlib
import heapq
import mailbox
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from workshed.contrib.mail.errors import MailServerUnreachableError
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.value_class import value_class


@value_class
class MaildirEntry:
    """A mail in a maildir."""

    name: str
    """The name of its file, printable ASCII, with the flags that mail programs add."""
    path: Path
    at: datetime
    """When its file was written."""
    size_bytes: int


def store_mail(folder: Path, envelope: Envelope) -> None:
    """Write the mail to the folder's `tmp`, and move it into `new` once it is on disk.

    Raises `MailServerUnreachableError` if the folder cannot be written.
    """
    lines = envelope.payload.replace(b"\r\n", b"\n")  # this system's line ends
    try:
        for part in ("tmp", "new", "cur"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        mailbox.Maildir(folder, create=False).add(lines)
    except (OSError, mailbox.Error) as err:
        raise MailServerUnreachableError(f"maildir:{folder}", str(err)) from err


def list_newest(folder: Path, limit: int) -> list[MaildirEntry]:
    """Return the latest mails, the newest first.

    A folder that does not exist has none. Raises `MailServerUnreachableError` if it cannot be read.
    """
    return heapq.nlargest(limit, _list_mails(folder), key=lambda one: (one.at, one.name))


def find_mail(folder: Path, name: str) -> MaildirEntry | None:
    """Return the mail of this name; raises like `newest`.

    Searches the existing names, so that no name can lead to another folder.
    """
    return next((one for one in _list_mails(folder) if one.name == name), None)


def _list_mails(folder: Path) -> Iterator[MaildirEntry]:
    """Yield each complete mail, read or unread; skip links and names that no mail program makes.

    A mail that a mail program moves meanwhile is skipped.
    """
    for part in ("new", "cur"):
        try:
            with os.scandir(folder / part) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False) and _is_plain(entry.name):
                        with contextlib.suppress(FileNotFoundError):
                            yield _read_entry(entry)
        except FileNotFoundError:
            continue
        except OSError as err:
            raise MailServerUnreachableError(f"maildir:{folder}", str(err)) from err


def _read_entry(entry: os.DirEntry[str]) -> MaildirEntry:
    known = entry.stat(follow_symlinks=False)
    at = datetime.fromtimestamp(known.st_mtime, UTC)
    return MaildirEntry(entry.name, Path(entry.path), at, known.st_size)


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isprintable()
