"""Deliver a claimed mail, and release its claim with the right state if that fails."""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from workshed import db
from workshed.contrib.mail import maildir, seats, servers, stored_mails
from workshed.contrib.mail.errors import (
    MailDeliveryUnknownError,
    MailError,
    MailServerAway,
    UnsentState,
)
from workshed.contrib.mail.handover import Handover
from workshed.contrib.mail.protocol import deadline, mime, smtp
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.contrib.mail.seats import Seats
from workshed.contrib.mail.servers import SendPermit
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.contrib.mail.stored_mails import BULK, MOST_RESENDS, Email, explain_hold
from workshed.contrib.storage import ContentMissingError, StorageError
from workshed.errors import SettingsError
from workshed.jobs import Discard
from workshed.jobs.history.attempts import format_error
from workshed.settings import settings

logger = logging.getLogger(__name__)

RECORDED_ERRORS = (
    MailError,
    MailServerAway,
    SettingsError,
    StorageError,
    ContentMissingError,
    Discard,
)
"""Errors after which the row of a mail already has its result."""
_active_deliveries: dict[UUID, tuple[Email, Handover]] = {}
"""Deliveries in progress in this process, by claim."""


def deliver(
    email: Email,
    through: Seats = seats.process_seats,
    *,
    unsubscribe: mime.UnsubscribeLink | None = None,
) -> None:
    """Return when the server of `WORKSHED_SMTP_URL` has accepted the mail.

    Call this after the claim has committed, with no transaction open, and call `mark_sent`
    afterwards. The row of the mail already records any of these errors. Raises `MailServerAway` if
    the server itself has trouble, which costs no attempt; a `MailServerError` if the mail waits for
    another attempt; a `StorageError` if its files cannot be read now; a `PermanentError` if it was
    refused permanently; and `Discard` if it is held for an operator. `through`: the seats of this
    process. `unsubscribe`: a function from a user's id to the link that bulk mails show as a
    button.

    Any other exception, for example an interrupt, releases the claim if the final dot was not sent,
    because the mail is then certainly not delivered. After the final dot the mail is in doubt, and
    the claim expires.
    """
    with _track_delivery(email) as handover:
        try:
            _deliver(email, through, handover, unsubscribe)
        except RECORDED_ERRORS:
            raise
        except BaseException as err:
            _withdraw(email, handover, format_error(err) or type(err).__name__)
            raise


@contextmanager
def _track_delivery(email: Email) -> Generator[Handover]:
    """Let `leave` withdraw a mail inside the block."""
    handover = Handover()
    _active_deliveries[email.claim] = email, handover
    try:
        yield handover
    finally:
        _active_deliveries.pop(email.claim, None)


def withdraw_deliveries() -> None:
    """Release the claims of unfinished deliveries: this process ends now, with all its threads."""
    for email, handover in list(_active_deliveries.values()):
        _withdraw(email, handover, "its worker was shut down")


def _withdraw(email: Email, handover: Handover, reason: str) -> None:
    if handover.withdraw():
        error = f"interrupted before its end was sent: {reason}"
        _release_claim(email, "pending", error, is_attempt=False)
        if email.permit is not None:
            servers.cancel_probe(email.permit)


def _deliver(
    email: Email, through: Seats, handover: Handover, unsubscribe: mime.UnsubscribeLink | None
) -> None:
    try:
        with through.renew_claim(email.claim, deadline.claim_lifetime(settings().smtp_timeout)):
            _send(mime.build_envelope(email, unsubscribe), through, handover)
    except MailError as err:
        _record_error(email, err)
        raise
    except (SettingsError, StorageError, ContentMissingError, MailServerAway) as err:
        _release_claim(email, "pending", err, is_attempt=not isinstance(err, MailServerAway))
        if email.permit is not None:
            servers.cancel_probe(email.permit)
        raise
    if email.permit is not None:
        servers.record_answer(email.permit)


def _send(envelope: Envelope, through: Seats, handover: Handover) -> None:
    known = settings()
    url = known.smtp_url.get_secret_value()
    if url.startswith(servers.MAILDIR):
        handover.commit()
        maildir.store_mail(Path(url.removeprefix(servers.MAILDIR)), envelope)
        return
    server = SmtpServer.from_url(url, must_encrypt=known.smtp_starttls == "required")
    with through.use_seat(server, known.smtp_connections):
        smtp.send_mail(server, envelope, known.smtp_timeout, handover)


def _record_error(email: Email, error: MailError) -> None:
    """Record what follows from an error; raises the error that ends the job, if it is another."""
    leave = email.permit or SendPermit(
        servers.get_server_name(), datetime.now(UTC), 0, is_held=False
    )
    if error.is_server_failure:
        _release_claim(email, "pending", error, is_attempt=False)
        try:
            with db.transaction() as conn:
                away = servers.count_failure(conn, leave, error)
        except db.TRANSIENT_ERRORS as lost:
            logger.warning("trouble of %s is not recorded: %s", leave.server, str(lost).strip())
            raise error from None
        raise away from error
    is_held = (
        isinstance(error, MailDeliveryUnknownError)
        and email.priority != BULK  # a campaign holds its mails the first time
        and email.possible_duplicates >= MOST_RESENDS
    )
    _release_claim(email, error.resulting_state, error, is_held=is_held)
    servers.record_answer(leave)
    if is_held:
        raise Discard(explain_hold(email.id, email.possible_duplicates)) from error


def _release_claim(
    email: Email,
    state: UnsentState,
    error: Exception | str,
    *,
    is_attempt: bool = True,
    is_held: bool = False,
) -> None:
    how = {"is_attempt": is_attempt, "is_held": is_held}
    try:
        with db.transaction() as conn:
            stored_mails.release_claim(conn, email, state=state, error=str(error), **how)
    except db.TRANSIENT_ERRORS as lost:
        # Keep the mail's own error: the claim expires by itself, and counts as in doubt.
        logger.warning("the claim of mail %d expires by itself: %s", email.id, lost)


os.register_at_fork(after_in_child=_active_deliveries.clear)
db.add_close_hook(withdraw_deliveries)
