"""Stored mails: which are to be sent, which worker sends each, and the result."""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, LiteralString
from uuid import UUID, uuid4

from psycopg.rows import args_row

from workshed.contrib.mail import files, servers
from workshed.contrib.mail.errors import UnsentState
from workshed.contrib.mail.files import File
from workshed.contrib.mail.protocol import deadline
from workshed.contrib.mail.sender import get_sender
from workshed.contrib.mail.servers import SendPermit
from workshed.database.adapters import SyncConnection
from workshed.database.driver_connection import driver_connection
from workshed.database.postgres import Connection, class_row
from workshed.jobs import RecordMissing, Snooze
from workshed.pruning import delete_old_rows
from workshed.settings import settings

logger = logging.getLogger(__name__)

MOST_RESENDS = 1
"""How often a mail that may have arrived is sent again before an operator decides."""

# The wait if a mail's claim was released between the refusal and the query for its reason.
CLAIM_RETRY_DELAY = timedelta(seconds=1)


ALERT, SINGLE, BULK = 4, 2, 0
"""RabbitMQ's priorities of a mail, high first: an alert, a mail to one person, a bulk mail."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A mail to store."""

    kind: str
    """A lower-case word, which also begins the `Message-ID`."""
    recipient: str
    recipient_name: str
    subject: str
    text_body: str
    html_body: str | None = None
    user_id: str | None = None
    """The user it is for, by your own id. Lock the user's row first, so that it is not deleted
    before this transaction ends."""
    about: str = ""
    """Distinguishes mails of one kind to the same person, for example by a date."""
    priority: int = SINGLE
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Email:
    """A claimed row of `workshed_mail.emails`."""

    id: int
    kind: str
    user_id: str | None
    recipient: str
    recipient_name: str
    subject: str
    text_body: str
    html_body: str | None
    message_id: str
    priority: int
    claim: UUID
    attempts: int
    possible_duplicates: int
    created_at: datetime
    files: tuple[File, ...] = ()
    permit: SendPermit | None = None
    """The permit of the mail server; `None` in a test that did not ask for one."""


@dataclass(frozen=True, slots=True)
class EmailInDoubt:
    """A held mail, as people read it."""

    id: int
    kind: str
    user_id: str | None
    recipient: str
    subject: str
    message_id: str
    possible_duplicates: int
    """How often it was sent again although it may have arrived."""
    last_error: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class HeldEmail:
    """A mail that may have arrived more than once and is held until an operator decides."""

    id: int
    reason: str


def derive_message_id(draft: Draft) -> str:
    """Derive the Message-ID from the mail's identity, so that a lost and recreated row keeps it.

    The address is part of it, so that test and production data of one domain have different ids.
    """
    identity = "\0".join((draft.kind, draft.user_id or "", draft.about, draft.recipient))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return f"<{draft.kind}.{digest}@{get_sender().domain}>"


INSERT = """
    INSERT INTO workshed_mail.emails (kind, user_id, about, recipient, recipient_name, subject,
                                text_body, html_body, priority, message_id)
    VALUES (%(kind)s, %(user_id)s, %(about)s, %(recipient)s, %(recipient_name)s, %(subject)s,
            %(text_body)s, %(html_body)s, %(priority)s, %(message_id)s)
        ON CONFLICT ON CONSTRAINT emails_once
"""


def store(conn: Connection, draft: Draft) -> int:
    """Store a mail and its files, once; return the id, new or existing."""
    # The update changes nothing, but makes PostgreSQL return the row.
    found = _insert_draft(conn, INSERT + "DO UPDATE SET kind = excluded.kind RETURNING id", draft)
    assert found is not None  # noqa: S101 -- one row by construction
    return found


def store_new(conn: Connection, drafts: Iterable[Draft]) -> list[int]:
    """Store mails, once each; return the ids of those that are new."""
    found = (_insert_draft(conn, INSERT + "DO NOTHING RETURNING id", draft) for draft in drafts)
    return [email_id for email_id in found if email_id is not None]


def _insert_draft(conn: Connection, query: LiteralString, draft: Draft) -> int | None:
    row = asdict(draft) | {"message_id": derive_message_id(draft)}
    with conn.cursor(row_factory=args_row(int)) as cur:
        email_id = cur.execute(query, row).fetchone()
    if email_id is not None:
        files.attach_files(conn, email_id, draft.files)
    return email_id


def claim(conn: Connection, email_id: int) -> Email | HeldEmail | None:
    """Claim a mail, which `deliver` then renews; `None` if it was sent.

    Raises `Snooze` until another worker's claim ends, because that worker may still die, or while
    the mail server is held; and `RecordMissing`. A mail that may have been sent before is claimed
    once more, counted and logged; the next time it is held.
    """
    query = """
        UPDATE workshed_mail.emails
           SET state = 'sending', claim = %(claim)s, claimed_until = workshed.now() + %(lasts)s,
               attempts = attempts + 1,
               possible_duplicates = possible_duplicates + (state IN ('sending', 'unknown'))::int
         WHERE id = %(id)s
           AND (state IN ('pending', 'failed')
                OR possible_duplicates < %(resends)s AND held_at IS NULL
                   AND (state = 'unknown' OR state = 'sending' AND claimed_until <= workshed.now()))
        RETURNING id, kind, user_id, recipient, recipient_name, subject, text_body, html_body,
                  message_id, priority, claim, attempts, possible_duplicates, created_at
    """
    row = {
        "id": email_id,
        "claim": uuid4(),
        "lasts": deadline.claim_lifetime(settings().smtp_timeout),
        "resends": MOST_RESENDS,
    }
    with conn.cursor(row_factory=class_row(Email)) as cur:
        email = cur.execute(query, row).fetchone()
    if email is None:
        return _explain_unclaimed(conn, email_id)
    if email.possible_duplicates:
        logger.warning(
            "mail %d may have arrived before, sends in doubt: %d; sending it again as %s",
            *(email.id, email.possible_duplicates, email.message_id),
        )
    leave = servers.acquire_permit(
        conn
    )  # last, because this may be the mail that probes the server
    return replace(email, files=files.list_files(conn, email_id), permit=leave)


def renew_claim(conn: Connection, claim: UUID, lease: timedelta) -> None:
    """Extend a claim, unless it was released or taken over."""
    query = """
        UPDATE workshed_mail.emails SET claimed_until = workshed.now() + %s
         WHERE claim = %s AND state = 'sending'
    """
    conn.execute(query, (lease, claim))


def _explain_unclaimed(conn: Connection, email_id: int) -> HeldEmail | None:
    hold = """
        UPDATE workshed_mail.emails
           SET state = 'unknown', held_at = workshed.now(), claim = NULL, claimed_until = NULL,
               last_error = COALESCE(last_error, 'the worker that sent it has died')
         WHERE id = %(id)s AND possible_duplicates >= %(resends)s AND held_at IS NULL
           AND (state = 'unknown' OR state = 'sending' AND claimed_until <= workshed.now())
    """
    conn.execute(hold, {"id": email_id, "resends": MOST_RESENDS})
    query = """
        SELECT state, claimed_until - workshed.now(), possible_duplicates, held_at IS NOT NULL
          FROM workshed_mail.emails
         WHERE id = %s
    """
    row = conn.execute(query, (email_id,)).fetchone()
    if row is None:
        raise RecordMissing("email", email_id)
    state, left, possible_duplicates, is_held = row
    if is_held:
        return HeldEmail(email_id, explain_hold(email_id, possible_duplicates))
    if state != "sent":
        raise Snooze(left or CLAIM_RETRY_DELAY, f"mail {email_id} is being sent by another worker")
    return None


def explain_hold(email_id: int, possible_duplicates: int) -> str:
    """Explain why a mail is not sent again, and what to do."""
    return (
        f"mail {email_id} was sent {possible_duplicates + 1} times, "
        "and may have arrived each time: it is "
        f"held; `workshed mail release {email_id}` sends it once more, and `workshed mail arrived "
        f"{email_id}` marks it as sent"
    )


def delete_of(conn: SyncConnection, user_id: str) -> int:
    """Delete all mails of a user; return how many.

    Call this in the transaction that deletes the user, after that deletion, so that no mail is
    stored in between. A job that was to deliver one of the mails finds nothing and is discarded.
    `conn` is of any kind that `deliver_later` takes.
    """
    driver = driver_connection(conn, "mail.delete_of()")
    query = "DELETE FROM workshed_mail.emails WHERE user_id = %s"
    return driver.execute(query, (user_id,)).rowcount


def list_held(conn: Connection, limit: int) -> list[EmailInDoubt]:
    """Return the held mails, the oldest first."""
    query = """
        SELECT id, kind, user_id, recipient, subject, message_id, possible_duplicates, last_error,
               created_at
          FROM workshed_mail.emails
         WHERE held_at IS NOT NULL
         ORDER BY id
         LIMIT %s
    """
    with conn.cursor(row_factory=class_row(EmailInDoubt)) as cur:
        return cur.execute(query, (limit,)).fetchall()


def count_held(conn: Connection) -> int:
    """Return how many mails are held, without reading their other columns."""
    query = "SELECT count(*) FROM workshed_mail.emails WHERE held_at IS NOT NULL"
    with conn.cursor(row_factory=args_row(int)) as cur:
        return cur.execute(query).fetchone() or 0


def prune_emails(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete mails that were sent, or refused permanently, so long ago; return how many.

    If such a mail is stored again later, it is a new one and is sent.
    """
    has_ended = "state IN ('sent', 'failed')"
    table = "workshed_mail.emails"  # whose rows have no index by time
    return delete_old_rows(conn, table, "created_at", older_than, limit, has_ended, order="id")


def resolve_held(
    conn: Connection, email_id: int, state: Literal["pending", "sent"]
) -> EmailInDoubt | None:
    """Let a held mail be sent once more, or mark it as sent; `None` if it is not held.

    The caller sends the job that continues from there. A mail that is sent once more may have
    arrived before, so it is counted as a possible duplicate.
    """
    query = """
        UPDATE workshed_mail.emails
           SET state = %(state)s, sent_at = CASE WHEN %(state)s = 'sent' THEN workshed.now() END,
               possible_duplicates = possible_duplicates + (%(state)s = 'pending')::int,
               held_at = NULL
         WHERE id = %(id)s AND held_at IS NOT NULL
        RETURNING id, kind, user_id, recipient, subject, message_id, possible_duplicates,
                  last_error,
                  created_at
    """
    with conn.cursor(row_factory=class_row(EmailInDoubt)) as cur:
        return cur.execute(query, {"id": email_id, "state": state}).fetchone()


def mark_unknown(conn: Connection, email_id: int) -> bool:
    """Mark a mail `unknown` instead of sending it again; False if it is claimed or has a result.

    For bulk mails, where a missing one does less harm than a duplicate.
    """
    query = """
        UPDATE workshed_mail.emails
           SET state = 'unknown', claim = NULL, claimed_until = NULL,
               last_error = COALESCE(last_error, 'the worker that sent it has died')
         WHERE id = %s
           AND (state = 'unknown' OR state = 'sending' AND claimed_until <= workshed.now())
    """
    return conn.execute(query, (email_id,)).rowcount == 1


def mark_sent(conn: Connection, email: Email) -> bool:
    """Record that the mail was accepted; False, without a write, if the claim was taken over."""
    query = """
        UPDATE workshed_mail.emails
           SET state = 'sent', sent_at = workshed.now(), claim = NULL, claimed_until = NULL
         WHERE id = %(id)s AND claim = %(claim)s
    """
    return conn.execute(query, {"id": email.id, "claim": email.claim}).rowcount == 1


def mark_arrived(conn: Connection, email: Email) -> bool:
    """Record that a mail was accepted, even if it was held meanwhile; False if it already was."""
    query = """
        UPDATE workshed_mail.emails
           SET state = 'sent', sent_at = workshed.now(), claim = NULL, claimed_until = NULL
         WHERE id = %(id)s AND (claim = %(claim)s OR state = 'unknown')
    """
    return conn.execute(query, {"id": email.id, "claim": email.claim}).rowcount == 1


def release_claim(
    conn: Connection,
    email: Email,
    *,
    state: UnsentState,
    error: str,
    is_attempt: bool = True,
    is_held: bool = False,
) -> bool:
    """Release the claim and record the mail's state; False if the claim was taken over.

    `is_held`: the mail is not sent again until an operator decides.
    """
    query = """
        UPDATE workshed_mail.emails
           SET state = %(state)s, last_error = %(error)s, claim = NULL, claimed_until = NULL,
               attempts = attempts - (NOT %(is_attempt)s)::int,
               held_at = CASE WHEN %(is_held)s THEN workshed.now() END
         WHERE id = %(id)s AND claim = %(claim)s
    """
    row = {
        "id": email.id,
        "claim": email.claim,
        "state": state,
        "error": error,
        "is_attempt": is_attempt,
        "is_held": is_held,
    }
    return conn.execute(query, row).rowcount == 1
