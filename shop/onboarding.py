"""The emails to new users: a welcome, and a reminder for those who did not come back."""

from shop import compose, people
from workshed.contrib.mail import emails
from workshed.contrib.mail.emails import Draft, Email, HeldEmail
from workshed.db import Connection


def claim_welcome(conn: Connection, user_id: int) -> Email | HeldEmail | None:
    """Claim the welcome email, storing it first if needed; `None` if it was sent.

    Raises `RecordMissing` if the user was deleted, and what `emails.claim` raises.
    """
    user = people.lock(conn, user_id)
    if user.welcomed_at:
        return None
    return emails.claim(conn, emails.store(conn, compose.welcome(user)))


def reminder(conn: Connection, user_id: int) -> Draft | None:
    """Return the reminder, for the caller to store in this transaction.

    `None` if it makes no sense any more: the user is active, unsubscribed, or was never welcomed.
    Raises `RecordMissing` if the user was deleted.
    """
    user = people.lock(conn, user_id)
    return compose.reminder(user) if people.wants_reminder(user) else None
