"""Mails as files in a maildir: the default on a laptop, and readable by any mail program."""

import mailbox
from pathlib import Path

from workshed.mail.envelope import Envelope
from workshed.mail.errors import MailServerUnreachableError


def store(folder: Path, envelope: Envelope) -> None:
    """Write the mail beside the others and move it in when it is whole and on disk.

    Raises `MailServerUnreachableError` when the folder cannot be written.
    """
    lines = envelope.payload.replace(b"\r\n", b"\n")  # as files on this system end theirs
    try:
        for part in ("tmp", "new", "cur"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        mailbox.Maildir(folder, create=False).add(lines)
    except (OSError, mailbox.Error) as err:
        raise MailServerUnreachableError(f"maildir:{folder}", str(err)) from err
