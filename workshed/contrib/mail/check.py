"""Check where mails go: a server that accepts the login, or a writable folder."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from workshed.console.doctor.context import DoctorContext
from workshed.console.doctor.environment import report_unreadable
from workshed.console.doctor.run import Check
from workshed.console.formatting import format_ago, format_due
from workshed.console.operations.finding import Finding, failed, ok, warning
from workshed.contrib.mail import sender, servers, stored_mails
from workshed.contrib.mail.errors import MailError
from workshed.contrib.mail.protocol import connection_cache
from workshed.contrib.mail.protocol.conversation import quit_session
from workshed.contrib.mail.protocol.deadline import MailDeadline
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.contrib.mail.tables import STREAM
from workshed.errors import SettingsError

STEP_TIMEOUT = timedelta(seconds=4)
"""Longest wait for one reply; shorter than a check's deadline, so that the server is named."""


def check_mail_server(here: DoctorContext) -> Iterator[Finding]:
    """Read the sender, connect and log in, without sending a mail."""
    try:
        sender.parse_sender(here.settings.mail_from)
    except SettingsError as err:
        yield report_unreadable("mail_from", err)
    url = here.settings.smtp_url.get_secret_value()
    if url.startswith("maildir:"):
        yield check_folder(Path(url.removeprefix("maildir:")))
        return
    required = here.settings.smtp_starttls == "required"
    try:
        server = SmtpServer.from_url(url, must_encrypt=required)
    except SettingsError as err:
        yield report_unreadable("smtp_url", err)
        return
    try:
        quit_session(connection_cache.connect_to_server(server, MailDeadline.start(STEP_TIMEOUT)))
    except MailError as err:
        yield failed(str(err), "export WORKSHED_SMTP_URL=smtp://user:password@host:587")
    else:
        yield ok(f"the mail server answers at {server}")


def check_mail_troubles(here: DoctorContext) -> Iterator[Finding]:
    """Name the mail servers in trouble, and count the mails that need an operator's decision."""
    if STREAM not in here.app.migrations:
        said = "your App has no tables of mails"
        yield failed(said, f'add "{STREAM}": "workshed.contrib.mail" to `migrations` of your App')
        return
    with here.connect() as conn:
        found, doubtful = servers.list_troubles(conn), stored_mails.count_held(conn)
    for one in found:
        again = ""
        if one.circuit_open_until is not None and one.circuit_open_until > one.now:
            again = f", next attempt {format_due(one.circuit_open_until, one.now)}"
        since = format_ago(one.failing_since, one.now)
        said = f"{one.name} accepts no emails, since {since}{again}: {one.last_error}"
        yield warning(said, f"workshed mail try {one.name}  (once the cause is fixed)")
    if doubtful:
        said = f"held mails that may have arrived twice: {doubtful}"
        yield warning(said, "workshed mail  (then release each, or mark it as arrived)")
    if not (found or doubtful):
        yield ok("the mail server accepts emails, and none is held")


def check_folder(path: Path) -> Finding:
    """Check that mails can be written there."""
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ok(f"mails are written to {path}")
    return failed(f"mails cannot be written to {path}", f"chown $USER {there}")


CHECKS = (
    Check("mail", check_mail_server, reads=("smtp_url", "mail_from")),
    Check("mails", check_mail_troubles, needs=("migrations",)),
)
