"""Where the mails of this installation end, if that is a folder on this machine."""

import contextlib
from pathlib import Path
from urllib.parse import urlsplit

from workshed.contrib.mail.servers import MAILDIR
from workshed.devserver.ports import HOST
from workshed.devserver.stack import MAIL_FOLDER, MAIL_PORT
from workshed.devserver.state import noted, own_folders
from workshed.settings import settings


def folder() -> Path | None:
    """Return the maildir; `None` where mails go out to people."""
    url = settings().smtp_url.get_secret_value()
    if url.startswith(MAILDIR):
        return Path(url.removeprefix(MAILDIR)).absolute()
    return _of_dev(url)


def _of_dev(url: str) -> Path | None:
    """Return where the catcher of `workshed dev` keeps mails, if the address is that of one.

    Of one with `--fresh` or `--state` nothing is known: its folder is in nobody's notes.
    """
    parts = urlsplit(url)
    if parts.hostname != HOST:
        return None
    for own in own_folders():
        with contextlib.suppress(OSError, ValueError):  # somebody else's, or half written
            if noted(own).get(MAIL_PORT) == str(parts.port):
                return own / MAIL_FOLDER
    return None
