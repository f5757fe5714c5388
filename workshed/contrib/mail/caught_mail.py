"""Where this installation's mails are caught, if that is a folder on this machine."""

import contextlib
from pathlib import Path
from urllib.parse import urlsplit

from workshed.contrib.mail.servers import MAILDIR
from workshed.devserver.ports import HOST
from workshed.devserver.stack import MAIL_FOLDER, MAIL_PORT
from workshed.devserver.state import list_own_folders, read_notes
from workshed.settings import settings


def find_maildir() -> Path | None:
    """Return the maildir; `None` if mails are sent to real recipients."""
    url = settings().smtp_url.get_secret_value()
    if url.startswith(MAILDIR):
        return Path(url.removeprefix(MAILDIR)).absolute()
    return _find_dev_maildir(url)


def _find_dev_maildir(url: str) -> Path | None:
    """Return the mail folder of `workshed dev`, if the address is that of its mail catcher.

    The catcher of a stack with `--fresh` or `--state` cannot be found, because its folder is not
    recorded.
    """
    parts = urlsplit(url)
    if parts.hostname != HOST:
        return None
    for own in list_own_folders():
        with contextlib.suppress(OSError, ValueError):  # another user's, or partly written
            if read_notes(own).get(MAIL_PORT) == str(parts.port):
                return own / MAIL_FOLDER
    return None
