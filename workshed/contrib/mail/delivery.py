"""Deliver a claimed mail, and give the claim back truthfully when that fails."""

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
"""The errors after which the row of a mail says what became of it."""
_under_way: dict[UUID, tuple[Email, Handover]] = {}
"""What this process delivers, by claim."""


def deliver(
    email: Email, through: Seats = seats.own, *, unsubscribe: wire.LinkFor | None = None
) -> None:
    """Return when the server of `WORKSHED_SMTP_URL` has accepted the mail.

    Call it with no transaction open, after the claim has committed, and then `mark_sent`.
    Raises `MailServerAway` where the server has trouble of its own, which costs no attempt;
    a `MailServerError` when the mail waits for another attempt, or a `StorageError` where its files
    cannot be read now; a `PermanentError` when it was refused for good, and `Discard` when it is
    held for an operator. Its row says so already. `through`: the seats of this process.
    `unsubscribe`: a function from a user's id to the link that mails to many show as a button.

    Whatever else ends it, an interrupt for example, gives the claim back where the final dot was
    not sent: the mail is certainly not delivered. Later it is in doubt, and the claim runs out.
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
    """Give back what this process delivers and has not ended: it leaves now, threads and all."""
    for email, handover in list(_under_way.values()):
        _withdraw(email, handover, "its worker was shut down")


def _withdraw(email: Email, handover: Handover, reason: str) -> None:
    if handover.withdraw():
        error = f"cut off before its end was sent: {reason}"
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
    """Say what follows from an error; raises what the job is to end by, where that is another."""
    leave = email.leave or SendPermit(servers.name(), datetime.now(UTC), 0, held=False)
    if error.of_server:
        _give_back(email, "pending", error, is_attempt=False)
        try:
            with db.transaction() as conn:
                away = servers.failed(conn, leave, error)
        except db.PASSING_ERRORS as lost:
            logger.warning("trouble of %s is not noted: %s", leave.server, str(lost).strip())
            raise error from None
        raise away from error
    is_held = (
        isinstance(error, MailDeliveryUnknownError)
        and email.priority != BULK  # those are held the first time, by their campaign
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
        # The mail's own error must go out; the claim runs out by itself, and counts as in doubt.
        logger.warning("the claim of mail %d runs out by itself: %s", email.id, lost)


os.register_at_fork(after_in_child=_under_way.clear)
db.before_closing(leave)
