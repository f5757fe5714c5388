"""Stored mails: the intent to send each, who is sending it, and what became of it."""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID, uuid4

from psycopg.rows import args_row, class_row

from workshed.db import Connection
from workshed.jobs import RecordMissing, Snooze
from workshed.mail import files, timer
from workshed.mail.errors import Left
from workshed.mail.files import File
from workshed.mail.sender import sender
from workshed.settings import settings

logger = logging.getLogger(__name__)

# From the commit of the claim to that of `mark_sent`, beside what the mail server takes.
MARGIN = timedelta(seconds=10)

# Between a claim that was refused and the look at why, its holder may have given the mail back.
A_MOMENT = timedelta(seconds=1)


ALERT, SINGLE, BULK = 4, 2, 0
"""RabbitMQ's priorities of a mail, high first: an alert, a mail to one person, and one to many."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A mail that is to be stored."""

    kind: str
    recipient: str
    recipient_name: str
    subject: str
    text_body: str
    html_body: str | None = None
    user_id: int | None = None
    about: str = ""
    """Tells two mails of a kind to one person apart, such as a date."""
    priority: int = SINGLE
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Email:
    """A claimed row of `product.emails`."""

    id: int
    kind: str
    user_id: int | None
    recipient: str
    recipient_name: str
    subject: str
    text_body: str
    html_body: str | None
    message_id: str
    priority: int
    claim: UUID
    attempts: int
    ambiguous: int
    created_at: datetime
    files: tuple[File, ...] = ()


def message_id(draft: Draft) -> str:
    """Derive the Message-ID from what the mail is: the same even if its row is lost and made again.

    The address is part of it, so that test and production data of one domain do not share ids.
    """
    identity = "\0".join((draft.kind, str(draft.user_id), draft.about, draft.recipient))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return f"<{draft.kind}.{digest}@{sender().domain}>"


INSERT = """
    INSERT INTO product.emails (kind, user_id, about, recipient, recipient_name, subject,
                                text_body, html_body, priority, message_id)
    VALUES (%(kind)s, %(user_id)s, %(about)s, %(recipient)s, %(recipient_name)s, %(subject)s,
            %(text_body)s, %(html_body)s, %(priority)s, %(message_id)s)
        ON CONFLICT ON CONSTRAINT emails_once
"""


def store(conn: Connection, draft: Draft) -> int:
    """Store the intent to send a mail, once, with its files; return the id, old or new."""
    # It changes nothing, but returns the row.
    found = _stored(conn, INSERT + "DO UPDATE SET kind = excluded.kind RETURNING id", draft)
    assert found is not None  # noqa: S101 -- as that says
    return found


def store_new(conn: Connection, drafts: Iterable[Draft]) -> list[int]:
    """Store mails, once each; return the ids of those that were not there before."""
    found = (_stored(conn, INSERT + "DO NOTHING RETURNING id", draft) for draft in drafts)
    return [email_id for email_id in found if email_id is not None]


def _stored(conn: Connection, query: LiteralString, draft: Draft) -> int | None:
    row = asdict(draft) | {"message_id": message_id(draft)}
    with conn.cursor(row_factory=args_row(int)) as cur:
        email_id = cur.execute(query, row).fetchone()
    if email_id is not None:
        files.attach(conn, email_id, draft.files)
    return email_id


def claim(conn: Connection, email_id: int) -> Email | None:
    """Claim a mail for longer than SMTP may take; `None` if it was sent.

    Raises `Snooze` until the end of another worker's claim, since its holder may yet die, and
    `RecordMissing`. A mail that may have been sent before is claimed, counted and logged.
    """
    query = """
        UPDATE product.emails
           SET state = 'sending', claim = %(claim)s, claimed_until = jobs.now() + %(lasts)s,
               attempts = attempts + 1,
               ambiguous = ambiguous + (state IN ('sending', 'unknown'))::int
         WHERE id = %(id)s
           AND (state IN ('pending', 'unknown', 'failed')
                OR state = 'sending' AND claimed_until <= jobs.now())
        RETURNING id, kind, user_id, recipient, recipient_name, subject, text_body, html_body,
                  message_id, priority, claim, attempts, ambiguous, created_at
    """
    lasts = timer.longest(settings().smtp_timeout) + MARGIN
    row = {"id": email_id, "claim": uuid4(), "lasts": lasts}
    with conn.cursor(row_factory=class_row(Email)) as cur:
        email = cur.execute(query, row).fetchone()
    if email is None:
        _snooze_while_claimed(conn, email_id)
        return None
    if email.ambiguous:
        logger.warning(
            "mail %d may have arrived before, ambiguous sends: %d; sending it again as %s",
            *(email.id, email.ambiguous, email.message_id),
        )
    return replace(email, files=files.of(conn, email_id))


def _snooze_while_claimed(conn: Connection, email_id: int) -> None:
    query = "SELECT state, claimed_until - jobs.now() FROM product.emails WHERE id = %s"
    row = conn.execute(query, (email_id,)).fetchone()
    if row is None:
        raise RecordMissing("email", email_id)
    state, left = row
    if state != "sent":
        raise Snooze(left or A_MOMENT, f"mail {email_id} is being sent by another worker")


def hold(conn: Connection, email_id: int) -> bool:
    """Leave a mail as it is that may have arrived; False for one whose fate is known, or claimed.

    Of mails to many, where one that is missing does less harm than one that comes twice.
    """
    query = """
        UPDATE product.emails
           SET state = 'unknown', claim = NULL, claimed_until = NULL,
               last_error = COALESCE(last_error, 'whoever sent it has died')
         WHERE id = %s
           AND (state = 'unknown' OR state = 'sending' AND claimed_until <= jobs.now())
    """
    return conn.execute(query, (email_id,)).rowcount == 1


def mark_sent(conn: Connection, email: Email) -> bool:
    """Note that the mail was accepted; False, and nothing written, if the claim was taken over."""
    query = """
        UPDATE product.emails
           SET state = 'sent', sent_at = jobs.now(), claim = NULL, claimed_until = NULL
         WHERE id = %(id)s AND claim = %(claim)s
    """
    return conn.execute(query, {"id": email.id, "claim": email.claim}).rowcount == 1


def mark_arrived(conn: Connection, email: Email) -> bool:
    """Note that a mail was accepted, also when it was held meanwhile; False if it was before."""
    query = """
        UPDATE product.emails
           SET state = 'sent', sent_at = jobs.now(), claim = NULL, claimed_until = NULL
         WHERE id = %(id)s AND (claim = %(claim)s OR state = 'unknown')
    """
    return conn.execute(query, {"id": email.id, "claim": email.claim}).rowcount == 1


def give_back(conn: Connection, email: Email, *, state: Left, error: str) -> bool:
    """End the claim and say what became of the mail; False if the claim was taken over."""
    query = """
        UPDATE product.emails
           SET state = %(state)s, last_error = %(error)s, claim = NULL, claimed_until = NULL
         WHERE id = %(id)s AND claim = %(claim)s
    """
    row = {"id": email.id, "claim": email.claim, "state": state, "error": error}
    return conn.execute(query, row).rowcount == 1
