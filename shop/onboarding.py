"""The mails to somebody new: a welcome, and a reminder for those who did not come back."""

from shop import compose, people
from workshed.contrib.mail import emails
from workshed.contrib.mail.emails import Draft, Email, HeldEmail
from workshed.db import Connection


def claim_welcome(conn: Connection, user_id: int) -> Email | HeldEmail | None:
    """Claim the welcome mail, stored first if need be; `None` if it is out.

    Raises `RecordMissing` when the person is gone, else like `emails.claim`.
    """
    user = people.lock(conn, user_id)
    if user.welcomed_at:
        return None
    return emails.claim(conn, emails.store(conn, compose.welcome(user)))


def reminder(conn: Connection, user_id: int) -> Draft | None:
    """Return the reminder, which is to be stored in this transaction.

    `None` when it makes no sense any more: the person is active, unsubscribed, or was never
    welcomed. Raises `RecordMissing` when the person is gone.
    """
    user = people.lock(conn, user_id)
    return compose.reminder(user) if people.wants_reminder(user) else None
