"""Deliver a claimed mail, and give the claim back truthfully when that fails."""

import logging
from pathlib import Path

from workshed import db
from workshed.errors import SettingsError, WorkshedError
from workshed.mail import emails, maildir, smtp, wire
from workshed.mail.emails import Email
from workshed.mail.envelope import Envelope
from workshed.mail.errors import Left, MailError
from workshed.mail.server import Server
from workshed.settings import settings
from workshed.storage import ContentMissingError, StorageError

logger = logging.getLogger(__name__)

MAILDIR = "maildir:"


def deliver(email: Email) -> None:
    """Return when the server of `WORKSHED_SMTP_URL` has accepted the mail.

    Call it with no transaction open, after the claim has committed, and then `mark_sent`.
    Raises a `MailServerError` when the mail waits for another attempt, or a `StorageError` where
    its files cannot be read now, and a `PermanentError` when it was refused for good; its row says
    so already.
    """
    try:
        _hand_over(wire.envelope(email))
    except MailError as err:
        _give_back(email, err.leaves, err)
        raise
    except (SettingsError, StorageError, ContentMissingError) as err:
        _give_back(email, "pending", err)
        raise


def _hand_over(envelope: Envelope) -> None:
    url = settings().smtp_url.get_secret_value()
    if url.startswith(MAILDIR):
        maildir.store(Path(url.removeprefix(MAILDIR)), envelope)
    else:
        smtp.send(Server.at(url), envelope, settings().smtp_timeout)


def _give_back(email: Email, state: Left, error: WorkshedError) -> None:
    try:
        with db.transaction() as conn:
            emails.give_back(conn, email, state=state, error=str(error))
    except db.PASSING_ERRORS as lost:
        # The mail's own error must go out; the claim runs out by itself, and counts as ambiguous.
        logger.warning("the claim of mail %d runs out by itself: %s", email.id, lost)
