"""The job that delivers stored mails, an actor that the application declares."""

from datetime import timedelta
from typing import Any, Protocol

import dramatiq

from workshed import db, extras
from workshed.contrib.mail import emails
from workshed.contrib.mail.delivery import deliver
from workshed.contrib.mail.emails import SINGLE, Draft, HeldEmail, InDoubt
from workshed.contrib.mail.errors import MailActorMissingError, MailServerError
from workshed.db import Connection
from workshed.duration import ms
from workshed.jobs import Discard
from workshed.middleware.options.backoff import exponential_wait
from workshed.middleware.options.retry_on import RetryOn
from workshed.transport import build, schedule

TIME_LIMIT = ms(minutes=26)
"""Milliseconds; longer than a mail server may take: the last step begins within 15 minutes, and
takes 10."""
FOR_TWO_DAYS = RetryOn(
    MailServerError,
    retry_for=timedelta(days=2),
    wait=exponential_wait(timedelta(seconds=15), timedelta(hours=1)),
)
"""Retries of what a mail server says of one mail; trouble of the server itself costs no attempt."""


class AfterDecision(Protocol):
    """Goes on with a mail about which an operator has decided."""

    def __call__(self, conn: Connection, mail: InDoubt, *, arrived: bool) -> bool:
        """Send the job that goes on, and return `True`; or return `False`."""


_actor: dramatiq.Actor[[int], None] | None = None
_after_decision: AfterDecision | None = None


def deliver_email(email_id: int) -> None:
    """Deliver a stored mail; one already sent is left alone.

    Idempotent: a run that meets a live claim snoozes until it ends, since its holder may yet die.
    On crash: sent again once under the same Message-ID when the claim ends, and counted as in
    doubt; then it is held. A shutdown before the end of the mail was sent gives it back instead.
    """
    with db.transaction() as conn:
        email = emails.claim(conn, email_id)
    if isinstance(email, HeldEmail):
        raise Discard(email.reason)
    if email:
        deliver(email)
        with db.transaction() as conn:
            emails.mark_sent(conn, email)


def declare(
    *,
    queue: str,
    retry_on: RetryOn = FOR_TWO_DAYS,
    after_decision: AfterDecision | None = None,
) -> dramatiq.Actor[[int], None]:
    """Declare the actor `deliver_email`; call it once, in a module of your actors.

    `queue`: give it four levels of priority, so that alerts come before mails to one person, and
    those before mails to many. `retry_on`: when an attempt that failed is repeated.
    `after_decision` is called in the transaction in which an operator decides about a mail that may
    have arrived: for a kind of mail that you deliver in an actor of your own, send that job and
    return `True`. Return `False` for all others. Raises `ValueError` when it is called again, and
    `MissingExtraError` without the extra `mail`.
    """
    global _actor, _after_decision  # noqa: PLW0603 -- an application has one
    extras.require("mail", "email_validator")  # and not at the first mail
    _actor = dramatiq.actor(
        broker=build.broker(), queue_name=queue, time_limit=TIME_LIMIT, retry_on=retry_on
    )(deliver_email)
    _after_decision = after_decision
    return _actor


def deliver_later(conn: Connection, draft: Draft) -> int:
    """Store a mail and the job that delivers it, both in the caller's transaction; return its id.

    If that commits, the mail is sent; a mail of the same kind, person and `about` is stored and
    sent once. Raises `MailActorMissingError`.
    """
    email_id = emails.store(conn, draft)
    deliver_stored(conn, email_id, priority=draft.priority)
    return email_id


def deliver_stored(conn: Connection, email_id: int, *, priority: int = SINGLE) -> None:
    """Send the job that delivers a mail which `store` has stored, in the caller's transaction.

    Raises `MailActorMissingError`.
    """
    actor = declared()
    levels = build.broker().declared[actor.queue_name].levels
    options: dict[str, Any] = {"broker_priority": min(priority, levels)} if levels else {}
    schedule.send(conn, actor.message_with_options(args=(email_id,), **options))


def declared() -> dramatiq.Actor[[int], None]:
    """Return the actor that delivers mails; raises `MailActorMissingError`."""
    if _actor is None:
        raise MailActorMissingError
    return _actor


def decide(conn: Connection, email_id: int, *, arrived: bool) -> InDoubt | None:
    """Take a held mail for sent, or send it once more, in the caller's transaction.

    `None` where it is not held. Raises `MailActorMissingError`.
    """
    declared()  # before anything is written
    found = emails.decide(conn, email_id, "sent" if arrived else "pending")
    if found is None or (_after_decision and _after_decision(conn, found, arrived=arrived)):
        return found
    if not arrived:
        deliver_stored(conn, email_id)
    return found
