"""Go on with a mail that may have arrived more than once, as an operator has decided."""

from actors.mail import deliver_with
from actors.people import send_welcome_email
from workshed import schedule
from workshed.contrib import mail
from workshed.contrib.mail import InDoubt
from workshed.db import Connection

WELCOME = "welcome"


def decide(conn: Connection, email_id: int, *, arrived: bool) -> InDoubt | None:
    """Take a held mail for sent, or send it once more, in the caller's transaction.

    `None` where it is not held. The job of a welcome also notes that somebody is welcomed.
    """
    found = mail.decide(conn, email_id, "sent" if arrived else "pending")
    if found is None:
        return None
    if found.kind == WELCOME and found.user_id is not None:
        schedule.send(conn, send_welcome_email.message(int(found.user_id)))
    elif not arrived:
        deliver_with(conn, email_id)
    return found
