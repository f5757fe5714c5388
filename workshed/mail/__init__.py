"""Mails: stored before they are sent, claimed by one worker at a time, delivered by SMTP."""

from shop.onboarding import claim_welcome, remind
from workshed.mail.delivery import deliver
from workshed.mail.emails import (
    ALERT,
    BULK,
    SINGLE,
    Draft,
    Email,
    Held,
    InDoubt,
    claim,
    decide,
    give_back,
    held,
    mark_sent,
    store,
)
from workshed.mail.errors import (
    MailError,
    MailFateUnknownError,
    MailLoginRefusedError,
    MailRefusedError,
    MailServerAway,
    MailServerError,
    MailServerUnreachableError,
    MailTemporarilyRefusedError,
    MailTimeoutError,
    MailWithdrawnError,
    RecipientRejectedError,
)
from workshed.mail.files import File

__all__ = [
    "ALERT",
    "BULK",
    "SINGLE",
    "Draft",
    "Email",
    "File",
    "Held",
    "InDoubt",
    "MailError",
    "MailFateUnknownError",
    "MailLoginRefusedError",
    "MailRefusedError",
    "MailServerAway",
    "MailServerError",
    "MailServerUnreachableError",
    "MailTemporarilyRefusedError",
    "MailTimeoutError",
    "MailWithdrawnError",
    "RecipientRejectedError",
    "claim",
    "claim_welcome",
    "decide",
    "deliver",
    "give_back",
    "held",
    "mark_sent",
    "remind",
    "store",
]
