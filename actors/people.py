"""Welcome new users, and remind those who do not come back."""

from datetime import timedelta

from shop import onboarding, people
from shop.people import User
from workshed import actor, db, schedule
from workshed.contrib import mail
from workshed.contrib.mail import EmailInDoubt, HeldEmail
from workshed.db import Connection
from workshed.jobs import Discard

WELCOME_KIND = "welcome"
"""The kind of mail that `send_welcome_email` delivers itself."""
REMIND_AFTER = timedelta(days=3)


@actor(queue="default", time_limit=mail.TIME_LIMIT, retry_on=mail.FOR_TWO_DAYS)
def send_welcome_email(user_id: int) -> None:
    """Send the welcome mail, and schedule the reminder in three days as its sending is recorded.

    Idempotent: the mail is stored once per user, so a second run finds it sent and does nothing.
    On crash: sent again once under the same Message-ID when the claim ends, and counted as in
    doubt; then it is held. A shutdown before the final dot releases the claim instead.
    """
    with db.transaction() as conn:
        email = onboarding.claim_welcome(conn, user_id)
        if email is None and people.get_user(conn, user_id).welcomed_at is None:
            # An operator marked it as sent.
            people.mark_welcomed(conn, user_id, schedule_reminder(conn, user_id))
    if isinstance(email, HeldEmail):
        raise Discard(email.reason)
    if email:
        mail.deliver(email)
        with db.transaction() as conn:
            if mail.mark_sent(conn, email):
                people.mark_welcomed(conn, user_id, schedule_reminder(conn, user_id))


@actor(queue="default", time_limit=timedelta(minutes=1))
def send_onboarding_reminder(user_id: int) -> None:
    """Remind a user who has not come back; whether a reminder is needed is decided now.

    Idempotent: the mail is stored once per user, and delivered once.
    On crash: the mail and the job that delivers it commit together, or neither does.
    """
    with db.transaction() as conn:
        draft = onboarding.draft_reminder(conn, user_id)
        if draft is None:
            raise Discard(f"user {user_id} no longer needs a reminder")
        mail.deliver_later(conn, draft)


def resume_welcome(conn: Connection, mail: EmailInDoubt, *, arrived: bool) -> bool:  # noqa: ARG001 -- the job records either decision
    """Send the job of a welcome mail about which an operator has decided.

    That job also records that the user is welcomed. Returns `False` for mails of other kinds.
    """
    if mail.kind != WELCOME_KIND or mail.user_id is None:
        return False
    schedule.send(conn, send_welcome_email.message(int(mail.user_id)))
    return True


def sign_up(conn: Connection, *, name: str, email: str) -> User:
    """Store a user and send their welcome job, both in the caller's transaction.

    Raises `InvalidNameError`, `InvalidAddressError` or `AddressTakenError`, and then sends nothing.
    """
    user = people.create(conn, name=name, email=email)
    schedule.send(conn, send_welcome_email.message(user.id))
    return user


def activate_user(conn: Connection, user_id: int) -> None:
    """Record that a user has come back, and cancel their reminder."""
    cancel_reminder(conn, people.mark_activated(conn, user_id))


def unsubscribe_user(conn: Connection, user_id: int) -> None:
    """Record that a user wants no reminders and no bulk mails, and cancel a waiting reminder."""
    cancel_reminder(conn, people.mark_unsubscribed(conn, user_id))


def schedule_reminder(conn: Connection, user_id: int) -> str:
    """Schedule the reminder; return its message id, with which you can cancel it."""
    message = send_onboarding_reminder.message(user_id)
    return schedule.send(conn, message, delay=REMIND_AFTER).message_id


def cancel_reminder(conn: Connection, message_id: str | None) -> None:
    """Delete a waiting reminder; one that was already published finds that it is not needed."""
    if message_id is not None:
        schedule.cancel(conn, message_id)
