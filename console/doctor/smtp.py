"""Where mails go: a server that takes the login, or a folder that can be written."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from console.doctor.surroundings import Surroundings
from console.finding import Finding, failed, ok
from workshed.mail import connections
from workshed.mail.conversation import hang_up
from workshed.mail.errors import MailError
from workshed.mail.server import Server
from workshed.mail.timer import Timer

STEP = timedelta(seconds=4)
"""Longest wait for one reply; below the deadline of a check, so that the server is named."""


def check(here: Surroundings) -> Iterator[Finding]:
    """Connect and log in; no mail is sent."""
    url = here.settings.smtp_url.get_secret_value()
    if url.startswith("maildir:"):
        yield folder(Path(url.removeprefix("maildir:")))
        return
    server = Server.at(url)
    try:
        hang_up(connections.connect(server, Timer.start(STEP)))
    except MailError as err:
        yield failed(str(err), "export WORKSHED_SMTP_URL=smtp://user:password@host:587")
    else:
        yield ok(f"the mail server answers at {server}")


def folder(path: Path) -> Finding:
    """See that mails can be written there."""
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ok(f"mails are written to {path}")
    return failed(f"mails cannot be written to {path}", f"chown $USER {there}")
