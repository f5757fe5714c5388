"""Deliver stored mails."""

from datetime import timedelta

import dramatiq

from workshed import broker, db, schedule
from workshed.contrib import mail
from workshed.contrib.mail import Held
from workshed.db import Connection
from workshed.duration import ms
from workshed.jobs import Discard
from workshed.middleware import RetryOn
from workshed.middleware.options.backoff import exponential

TIME_LIMIT = ms(minutes=26)
"""Longer than a mail server may take: the last step begins within 15 minutes, and takes 10."""
PUT_OFF = RetryOn(
    mail.MailServerError,
    retry_for=timedelta(days=2),
    wait=exponential(timedelta(seconds=15), timedelta(hours=1)),
)
"""Of what a mail server says of one mail; trouble of the server itself costs no attempt."""


@dramatiq.actor(broker=broker, queue_name="emails", time_limit=TIME_LIMIT, retry_on=PUT_OFF)
def deliver_email(email_id: int) -> None:
    """Deliver a stored mail; one already sent is left alone.

    Idempotent: a run that meets a live claim snoozes until it ends, since its holder may yet die.
    On crash: sent again once under the same Message-ID when the claim ends, and counted as in
    doubt; then it is held. A shutdown before the end of the mail was sent gives it back instead.
    """
    with db.transaction() as conn:
        email = mail.claim(conn, email_id)
    if isinstance(email, Held):
        raise Discard(email.reason)
    if email:
        mail.deliver(email)
        with db.transaction() as conn:
            mail.mark_sent(conn, email)


def deliver_with(conn: Connection, email_id: int, *, priority: int = mail.SINGLE) -> None:
    """Send `deliver_email` in the transaction that stores the mail."""
    message = deliver_email.message_with_options(args=(email_id,), broker_priority=priority)
    schedule.send(conn, message)
