"""The emails to new users: a welcome, and a reminder for those who did not come back."""

from shop import compose, people
from workshed.contrib.mail import stored_mails
from workshed.contrib.mail.stored_mails import Draft, Email, HeldEmail
from workshed.db import Connection


def claim_welcome(conn: Connection, user_id: int) -> Email | HeldEmail | None:
    """Claim the welcome email, storing it first if needed; `None` if it was sent.

    Raises `RecordMissing` if the user was deleted, and what `emails.claim` raises.
    """
    user = people.lock_user(conn, user_id)
    if user.welcomed_at:
        return None
    return stored_mails.claim(conn, stored_mails.store(conn, compose.write_welcome(user)))


def draft_reminder(conn: Connection, user_id: int) -> Draft | None:
    """Return the reminder, for the caller to store in this transaction.

    `None` if it makes no sense any more: the user is active, unsubscribed, or was never welcomed.
    Raises `RecordMissing` if the user was deleted.
    """
    user = people.lock_user(conn, user_id)
    return compose.write_reminder(user) if people.is_reminder_due(user) else None
