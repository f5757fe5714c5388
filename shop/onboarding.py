"""The mails to somebody new: a welcome, and a reminder for those who did not come back."""

from shop import compose, people
from workshed.contrib.mail import emails
from workshed.contrib.mail.emails import Email, Held
from workshed.db import Connection


def claim_welcome(conn: Connection, user_id: int) -> Email | Held | None:
    """Claim the welcome mail, stored first if need be; `None` if it is out.

    Raises `RecordMissing` when the person is gone, else like `emails.claim`.
    """
    user = people.lock(conn, user_id)
    if user.welcomed_at:
        return None
    return emails.claim(conn, emails.store(conn, compose.welcome(user)))


def remind(conn: Connection, user_id: int) -> int | None:
    """Store the reminder, once, and return the id of the mail to deliver.

    `None` when it makes no sense any more: the person is active, unsubscribed, or was never
    welcomed. Raises `RecordMissing` when the person is gone.
    """
    user = people.lock(conn, user_id)
    return emails.store(conn, compose.reminder(user)) if people.wants_reminder(user) else None
