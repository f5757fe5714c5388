"""The actor that delivers stored mails, which the application declares."""

from datetime import timedelta
from typing import Any, Protocol

import dramatiq

from workshed import db, extras
from workshed.contrib.mail import stored_mails
from workshed.contrib.mail.delivery import deliver
from workshed.contrib.mail.errors import MailActorMissingError, MailServerError
from workshed.contrib.mail.stored_mails import SINGLE, Draft, EmailInDoubt, HeldEmail
from workshed.database.adapters import SyncConnection
from workshed.database.driver_connection import driver_connection
from workshed.database.postgres import Connection
from workshed.duration import to_ms
from workshed.jobs import Discard
from workshed.middleware.options.backoff import exponential_wait
from workshed.middleware.options.retry_on import RetryOn
from workshed.transport import build, schedule

TIME_LIMIT = timedelta(minutes=26)
"""Longer than a mail server may take: the last step begins within 15 minutes and takes up to 10."""
FOR_TWO_DAYS = RetryOn(
    MailServerError,
    retry_for=timedelta(days=2),
    wait=exponential_wait(timedelta(seconds=15), timedelta(hours=1)),
)
"""Retries of a server's replies about one mail; trouble of the server itself costs no attempt."""


class AfterDecision(Protocol):
    """Called with a mail about which an operator has decided."""

    def __call__(self, conn: Connection, mail: EmailInDoubt, *, arrived: bool) -> bool:
        """Send the job that continues and return `True`, or return `False`."""


_actor: dramatiq.Actor[[int], None] | None = None
_after_decision: AfterDecision | None = None


def deliver_email(email_id: int) -> None:
    """Deliver a stored mail; one that was sent is skipped.

    Idempotent: a run that finds the mail claimed snoozes until that claim ends, because its holder
    may still die.
    On crash: sent again once under the same Message-ID when the claim ends, and counted as in
    doubt; then it is held. A shutdown before the final dot releases the claim instead.
    """
    with db.transaction() as conn:
        email = stored_mails.claim(conn, email_id)
    if isinstance(email, HeldEmail):
        raise Discard(email.reason)
    if email:
        deliver(email)
        with db.transaction() as conn:
            stored_mails.mark_sent(conn, email)


def declare(
    *,
    queue: str,
    retry_on: RetryOn = FOR_TWO_DAYS,
    after_decision: AfterDecision | None = None,
) -> dramatiq.Actor[[int], None]:
    """Declare the actor `deliver_email`; call this once, in a module of your actors.

    `queue`: give it four levels of priority, so that alerts come before mails to one person, and
    those before bulk mails. `retry_on`: when a failed attempt is repeated. `after_decision` is
    called in the transaction in which an operator decides about a mail that may have arrived. For a
    kind of mail that you deliver in an actor of your own, send that job and return `True`; for all
    others, return `False`. Raises `ValueError` if it is called again, and `MissingExtraError`
    without the extra `mail`.
    """
    global _actor, _after_decision  # noqa: PLW0603 -- an application has one
    extras.require_modules("mail", "email_validator")  # now rather than at the first mail
    _actor = dramatiq.actor(
        broker=build.get_broker(), queue_name=queue, time_limit=to_ms(TIME_LIMIT), retry_on=retry_on
    )(deliver_email)
    _after_decision = after_decision
    return _actor


def deliver_later(conn: SyncConnection, draft: Draft) -> int:
    """Store a mail and the job that delivers it in the caller's transaction; return the mail's id.

    The mail is sent if that transaction commits. A mail of the same kind, person and `about` is
    stored and sent once. `conn` is a connection of psycopg 3, Django or SQLAlchemy, or a session of
    SQLAlchemy. Raises `MailActorMissingError`; `OpenTransactionError` on a connection of Django
    outside `transaction.atomic()`; and `UnknownConnectionError` for any other `conn`.
    """
    driver = driver_connection(conn, "mail.deliver_later()")
    email_id = stored_mails.store(driver, draft)
    deliver_stored(driver, email_id, priority=draft.priority)
    return email_id


def deliver_stored(conn: Connection, email_id: int, *, priority: int = SINGLE) -> None:
    """Send the job that delivers a mail stored by `store`, in the caller's transaction.

    Raises `MailActorMissingError`.
    """
    actor = get_delivery_actor()
    levels = build.get_broker().declared_queues[actor.queue_name].levels
    options: dict[str, Any] = {"broker_priority": min(priority, levels)} if levels else {}
    schedule.send(conn, actor.message_with_options(args=(email_id,), **options))


def get_delivery_actor() -> dramatiq.Actor[[int], None]:
    """Return the actor that delivers mails; raises `MailActorMissingError`."""
    if _actor is None:
        raise MailActorMissingError
    return _actor


def decide_held(conn: Connection, email_id: int, *, arrived: bool) -> EmailInDoubt | None:
    """Mark a held mail as sent, or send it once more, in the caller's transaction.

    Returns `None` if it is not held. Raises `MailActorMissingError`.
    """
    get_delivery_actor()  # before anything is written
    found = stored_mails.resolve_held(conn, email_id, "sent" if arrived else "pending")
    if found is None or (_after_decision and _after_decision(conn, found, arrived=arrived)):
        return found
    if not arrived:
        deliver_stored(conn, email_id)
    return found
