"""Welcome somebody who signs up, and remind them when they do not come back."""

from datetime import timedelta

import dramatiq

from shop import onboarding, people
from shop.people import User
from workshed import broker, db, schedule
from workshed.contrib import mail
from workshed.contrib.mail import HeldEmail, InDoubt
from workshed.db import Connection
from workshed.duration import ms
from workshed.jobs import Discard

WELCOME = "welcome"
"""The kind of mail that `send_welcome_email` delivers itself."""
REMIND_AFTER = timedelta(days=3)


@dramatiq.actor(
    broker=broker, queue_name="default", time_limit=mail.TIME_LIMIT, retry_on=mail.FOR_TWO_DAYS
)
def send_welcome_email(user_id: int) -> None:
    """Send the welcome mail; with it commit that it is out, and the reminder in three days.

    Idempotent: the mail is stored once per user, so a second run finds it sent and does nothing.
    On crash: sent again once under the same Message-ID when the claim ends, and counted as in
    doubt; then it is held. A shutdown before the end of the mail was sent gives it back instead.
    """
    with db.transaction() as conn:
        email = onboarding.claim_welcome(conn, user_id)
        if email is None and people.find(conn, user_id).welcomed_at is None:
            # An operator took it for sent.
            people.mark_welcomed(conn, user_id, remind_later(conn, user_id))
    if isinstance(email, HeldEmail):
        raise Discard(email.reason)
    if email:
        mail.deliver(email)
        with db.transaction() as conn:
            if mail.mark_sent(conn, email):
                people.mark_welcomed(conn, user_id, remind_later(conn, user_id))


@dramatiq.actor(broker=broker, queue_name="default", time_limit=ms(minutes=1))
def send_onboarding_reminder(user_id: int) -> None:
    """Remind somebody who has not come back; whether that makes sense is asked now.

    Idempotent: the mail is stored once per user, and delivered once.
    On crash: the mail and the job that delivers it commit together, or neither does.
    """
    with db.transaction() as conn:
        draft = onboarding.reminder(conn, user_id)
        if draft is None:
            raise Discard(f"user {user_id} needs no reminder any more")
        mail.deliver_later(conn, draft)


def go_on_welcoming(conn: Connection, mail: InDoubt, *, arrived: bool) -> bool:  # noqa: ARG001 -- either way the job notes it
    """Send the job of a welcome mail about which an operator has decided.

    It also notes that the person is welcomed. Return `False` for mails of other kinds.
    """
    if mail.kind != WELCOME or mail.user_id is None:
        return False
    schedule.send(conn, send_welcome_email.message(int(mail.user_id)))
    return True


def sign_up(conn: Connection, *, name: str, email: str) -> User:
    """Store a person and send their welcome, both in the caller's transaction.

    Raises `InvalidNameError`, `InvalidAddressError` or `AddressTakenError`, and sends nothing then.
    """
    user = people.create(conn, name=name, email=email)
    schedule.send(conn, send_welcome_email.message(user.id))
    return user


def activate(conn: Connection, user_id: int) -> None:
    """Note that a person has come back, and cancel their reminder."""
    cancel_reminder(conn, people.activate(conn, user_id))


def unsubscribe(conn: Connection, user_id: int) -> None:
    """Note that a person wants no reminders and no mails to many; cancel the one that waits."""
    cancel_reminder(conn, people.unsubscribe(conn, user_id))


def remind_later(conn: Connection, user_id: int) -> str:
    """Schedule the reminder; return its message id, with which it can be cancelled."""
    message = send_onboarding_reminder.message(user_id)
    return schedule.send(conn, message, delay=REMIND_AFTER).message_id


def cancel_reminder(conn: Connection, message_id: str | None) -> None:
    """Delete a reminder that waits; one on its way finds out by itself that it is not needed."""
    if message_id is not None:
        schedule.cancel(conn, message_id)
