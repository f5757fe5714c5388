"""Deliver stored mails."""

from actors.people import resume_welcome
from workshed.contrib import mail

deliver_email = mail.declare(
    queue="emails", retry_on=mail.FOR_TWO_DAYS, after_decision=resume_welcome
)
