"""Deliver stored mails."""

import dramatiq

from brokers import broker, schedule
from middleware import RetryOn
from workshed import db, mail
from workshed.db import Connection
from workshed.duration import ms


@dramatiq.actor(
    broker=broker,
    queue_name="emails",
    time_limit=ms(minutes=3),
    retry_on=RetryOn(mail.MailServerError, attempts=5, wait="exponential"),
)
def deliver_email(email_id: int) -> None:
    """Deliver a stored mail; one already sent is left alone.

    Twice: a copy that meets a live claim snoozes until it ends, since its holder may yet die.
    Half-way: after the claim ends, sent again under the same Message-ID, and counted.
    """
    with db.transaction() as conn:
        email = mail.claim(conn, email_id)
    if email:
        mail.deliver(email)
        with db.transaction() as conn:
            mail.mark_sent(conn, email)


def deliver_with(conn: Connection, email_id: int, *, priority: int = mail.SINGLE) -> None:
    """Send `deliver_email` in the transaction that stores the mail."""
    message = deliver_email.message_with_options(args=(email_id,), broker_priority=priority)
    schedule.send(conn, message)
