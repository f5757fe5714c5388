"""Deliver stored mails."""

from actors.people import go_on_welcoming
from workshed.contrib import mail

deliver_email = mail.declare(
    queue="emails", retry_on=mail.FOR_TWO_DAYS, after_decision=go_on_welcoming
)
