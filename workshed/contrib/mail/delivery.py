"""Deliver a claimed mail, and release its claim with the right state if that fails."""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from workshed import db
from workshed.contrib.mail import emails, maildir, seats, servers
from workshed.contrib.mail.emails import BULK, MOST_RESENDS, Email, why_held
from workshed.contrib.mail.errors import Left, MailDeliveryUnknownError, MailError, MailServerAway
from workshed.contrib.mail.handover import Handover
from workshed.contrib.mail.protocol import smtp, timer, wire
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.contrib.mail.seats import Seats
from workshed.contrib.mail.server import SmtpServer
from workshed.contrib.mail.servers import SendPermit
from workshed.contrib.storage import ContentMissingError, StorageError
from workshed.errors import SettingsError
from workshed.jobs import Discard
from workshed.jobs.history.attempts import text_of
from workshed.settings import settings

logger = logging.getLogger(__name__)

STORED = (MailError, MailServerAway, SettingsError, StorageError, ContentMissingError, Discard)
"""Errors after which the row of a mail already has its result."""
_under_way: dict[UUID, tuple[Email, Handover]] = {}
"""Deliveries in progress in this process, by claim."""


def deliver(
    email: Email, through: Seats = seats.own, *, unsubscribe: wire.LinkFor | None = None
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
    with _noted(email) as handover:
        try:
            _deliver(email, through, handover, unsubscribe)
        except STORED:
            raise
        except BaseException as err:
            _withdraw(email, handover, text_of(err) or type(err).__name__)
            raise


@contextmanager
def _noted(email: Email) -> Generator[Handover]:
    """Let `leave` withdraw a mail inside the block."""
    handover = Handover()
    _under_way[email.claim] = email, handover
    try:
        yield handover
    finally:
        _under_way.pop(email.claim, None)


def leave() -> None:
    """Release the claims of unfinished deliveries: this process ends now, with all its threads."""
    for email, handover in list(_under_way.values()):
        _withdraw(email, handover, "its worker was shut down")


def _withdraw(email: Email, handover: Handover, reason: str) -> None:
    if handover.withdraw():
        error = f"interrupted before its end was sent: {reason}"
        _give_back(email, "pending", error, is_attempt=False)
        if email.leave is not None:
            servers.unasked(email.leave)


def _deliver(
    email: Email, through: Seats, handover: Handover, unsubscribe: wire.LinkFor | None
) -> None:
    try:
        with through.claimed(email.claim, timer.lease(settings().smtp_timeout)):
            _hand_over(wire.envelope(email, unsubscribe), through, handover)
    except MailError as err:
        _conclude(email, err)
        raise
    except (SettingsError, StorageError, ContentMissingError, MailServerAway) as err:
        _give_back(email, "pending", err, is_attempt=not isinstance(err, MailServerAway))
        if email.leave is not None:
            servers.unasked(email.leave)
        raise
    if email.leave is not None:
        servers.answered(email.leave)


def _hand_over(envelope: Envelope, through: Seats, handover: Handover) -> None:
    known = settings()
    url = known.smtp_url.get_secret_value()
    if url.startswith(servers.MAILDIR):
        handover.end()
        maildir.store(Path(url.removeprefix(servers.MAILDIR)), envelope)
        return
    server = SmtpServer.at(url, must_encrypt=known.smtp_starttls == "required")
    with through.seat(server, known.smtp_connections):
        smtp.send(server, envelope, known.smtp_timeout, handover)


def _conclude(email: Email, error: MailError) -> None:
    """Record what follows from an error; raises the error that ends the job, if it is another."""
    leave = email.leave or SendPermit(servers.name(), datetime.now(UTC), 0, held=False)
    if error.of_server:
        _give_back(email, "pending", error, is_attempt=False)
        try:
            with db.transaction() as conn:
                away = servers.failed(conn, leave, error)
        except db.PASSING_ERRORS as lost:
            logger.warning("trouble of %s is not recorded: %s", leave.server, str(lost).strip())
            raise error from None
        raise away from error
    is_held = (
        isinstance(error, MailDeliveryUnknownError)
        and email.priority != BULK  # a campaign holds its mails the first time
        and email.possible_duplicates >= MOST_RESENDS
    )
    _give_back(email, error.leaves, error, is_held=is_held)
    servers.answered(leave)
    if is_held:
        raise Discard(why_held(email.id, email.possible_duplicates)) from error


def _give_back(
    email: Email,
    state: Left,
    error: Exception | str,
    *,
    is_attempt: bool = True,
    is_held: bool = False,
) -> None:
    how = {"is_attempt": is_attempt, "is_held": is_held}
    try:
        with db.transaction() as conn:
            emails.give_back(conn, email, state=state, error=str(error), **how)
    except db.PASSING_ERRORS as lost:
        # Keep the mail's own error: the claim expires by itself, and counts as in doubt.
        logger.warning("the claim of mail %d expires by itself: %s", email.id, lost)


os.register_at_fork(after_in_child=_under_way.clear)
db.before_closing(leave)
