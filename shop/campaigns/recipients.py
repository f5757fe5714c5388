"""The recipients of a campaign: their states and outcomes, and the email that each is sent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from psycopg.rows import class_row

from shop import people
from shop.campaigns import campaigns, templates
from workshed.contrib.mail import (
    Email,
    HeldEmail,
    MailDeliveryUnknownError,
    MailError,
    MailRefusedError,
    MailTemporarilyRefusedError,
    RecipientRejectedError,
    stored_mails,
)
from workshed.db import Connection
from workshed.jobs import RecordMissing

RecipientOutcome = Literal["sent", "unsubscribed", "gone", "rejected", "unknown", "failed"]
RecipientState = Literal["waiting", "handed"] | RecipientOutcome

SENDER_STEP = "MAIL FROM"
"""The SMTP step at which a mail server refuses the sender."""
SENDABLE_STATES = ("handed", "failed")
"""States in which a recipient's job may send: it is on its way, or it was dead and is retried."""
UNSENT_STATES = (None, "pending", "failed")
"""States of an email that was not sent and is not being sent; `None`: it is not stored yet."""


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """How many recipients of a campaign are in each state, at one moment."""

    waiting: int = 0
    handed: int = 0
    sent: int = 0
    unsubscribed: int = 0
    gone: int = 0
    rejected: int = 0
    unknown: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """How many recipients there were when the campaign began."""
        return self.waiting + self.handed + self.with_outcome

    @property
    def summary(self) -> str:
        """The counts in words: `4 624 sent, 376 failed`."""
        counts = ((getattr(self, name), name) for name in self.__slots__)
        said = [f"{count:,} {name}".replace(",", " ") for count, name in counts if count]
        return ", ".join(said) or "0 sent"

    @property
    def undelivered(self) -> int:
        """How many did not get the email, or may not have, though they are still subscribed."""
        return self.rejected + self.unknown + self.failed

    @property
    def with_outcome(self) -> int:
        """How many have an outcome."""
        return (
            self.sent + self.unsubscribed + self.gone + self.rejected + self.unknown + self.failed
        )


@dataclass(frozen=True, slots=True)
class Recipient:
    """A row of `shop.campaign_recipients`, with the user's address unless the user is deleted."""

    user_id: int
    state: RecipientState
    reason: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class SkippedRecipient:
    """Why there is no email to send."""

    reason: str


def claim_email(conn: Connection, campaign_id: int, user_id: int) -> Email | SkippedRecipient:
    """Claim a recipient's email, storing it first if needed, or return why there is none to send.

    This is the moment that decides: whether the campaign is paused, and whether the user has
    unsubscribed or was deleted. An email whose delivery is unknown is held. Raises
    `RecordMissing`, `TemplateError`, `Snooze` while another worker sends it, and `MailServerAway`.
    """
    campaign = campaigns.get_campaign(conn, campaign_id)
    if campaign.state != "sending":
        campaign = campaigns.lock_shared(
            conn, campaign_id
        )  # so that it is not resumed before the row is put back
        if campaign.state in ("paused", "cancelled"):
            return_to_waiting(conn, campaign_id, user_id)
            return SkippedRecipient(f"campaign {campaign_id} is {campaign.state}")
    state, email_id, mail = _lock_recipient(conn, campaign_id, user_id)
    if state not in SENDABLE_STATES:
        return SkippedRecipient(f"user {user_id} is {state}")
    try:
        user = people.lock_user(conn, user_id)
    except RecordMissing:
        return _record_skip(conn, campaign_id, user_id, "gone", "deleted since the campaign began")
    if email_id is not None and stored_mails.mark_unknown(conn, email_id):
        return _record_skip(conn, campaign_id, user_id, "unknown", "it may or may not have arrived")
    if user.unsubscribed_at is not None and mail in UNSENT_STATES:
        return _record_skip(conn, campaign_id, user_id, "unsubscribed", "since the campaign began")
    if email_id is None:
        email_id = stored_mails.store(conn, templates.draft_email(campaign, user))
        _set_email(conn, campaign_id, user_id, email_id)
    email = stored_mails.claim(conn, email_id)
    assert not isinstance(email, HeldEmail)  # noqa: S101 -- held ones returned above
    return email or _record_skip(conn, campaign_id, user_id, "sent", None)


def mark_delivered(conn: Connection, campaign_id: int, email: Email) -> None:
    """Record that a recipient's email was accepted, even if it was held in the meantime."""
    assert email.user_id is not None  # noqa: S101 -- every email of a campaign has a user
    record_outcome(
        conn, campaign_id, int(email.user_id), "sent"
    )  # first: a copy locks in this order
    stored_mails.mark_arrived(conn, email)


def record_outcome(
    conn: Connection,
    campaign_id: int,
    user_id: int,
    outcome: RecipientOutcome,
    reason: str | None = None,
) -> None:
    """Record the outcome of a recipient, and the reason if the email was not sent."""
    query = """
        UPDATE shop.campaign_recipients
           SET state = %(outcome)s, reason = %(reason)s
         WHERE campaign_id = %(campaign_id)s AND user_id = %(user_id)s
    """
    values = {
        "campaign_id": campaign_id,
        "user_id": user_id,
        "outcome": outcome,
        "reason": reason,
    }
    conn.execute(query, values)


def record_error(
    conn: Connection, campaign_id: int, user_id: int, error: MailError
) -> timedelta | None:
    """Record an email that was not accepted, and pause the campaign if others would fail as well.

    If the mail server refuses the sender, it would refuse every email, so the campaign is paused
    with that reason. The same holds if most emails are refused for their text. If most are deferred
    (refused for now), the campaign pauses for the returned time; then the caller's job resumes it.
    """
    rest = None
    match error:
        case MailDeliveryUnknownError():
            record_outcome(conn, campaign_id, user_id, "unknown", str(error))
        case MailRefusedError(step=step) if step == SENDER_STEP:
            campaigns.lock(
                conn, campaign_id
            )  # so that it is not resumed before this one is put back
            campaigns.pause(conn, campaign_id, str(error))
            return_to_waiting(conn, campaign_id, user_id)
        case MailRefusedError():
            campaigns.pause_if_mostly_rejected(conn, campaign_id, user_id, str(error))
            record_outcome(conn, campaign_id, user_id, "rejected", str(error))
        case RecipientRejectedError():
            record_outcome(conn, campaign_id, user_id, "rejected", str(error))
        case MailTemporarilyRefusedError():
            campaigns.lock(conn, campaign_id)
            _record_deferral(conn, campaign_id, user_id, str(error))
            rest = campaigns.pause_if_mostly_deferred(conn, campaign_id, user_id, str(error))
            if rest is not None:
                return_to_waiting(conn, campaign_id, user_id)
    return rest


def pause_with_recipient(
    conn: Connection, campaign_id: int, user_id: int, error: str, span: timedelta
) -> tuple[bool, bool]:
    """Pause a campaign for `span`, and let a recipient wait until it resumes.

    Returns whether the campaign was being sent, in which case the caller sends the job that resumes
    it; and whether the recipient waits.
    """
    state = campaigns.lock(conn, campaign_id).state
    pauses = state == "sending" and campaigns.pause_for(conn, campaign_id, error, span)
    waits = (pauses or state == "paused") and return_to_waiting(conn, campaign_id, user_id)
    return pauses, waits


def return_to_waiting(conn: Connection, campaign_id: int, user_id: int) -> bool:
    """Let a handed-out recipient wait until the campaign is resumed; False for any other one.

    The caller must have locked the campaign, because resuming it looks for waiting recipients.
    """
    query = """
        UPDATE shop.campaign_recipients SET state = 'waiting', reason = NULL
         WHERE campaign_id = %s AND user_id = %s AND state = 'handed'
    """
    return conn.execute(query, (campaign_id, user_id)).rowcount == 1


def get_progress(conn: Connection, campaign_id: int) -> CampaignProgress:
    """Count the recipients of a campaign by state."""
    return get_progress_of_each(conn, [campaign_id])[campaign_id]


def get_progress_of_each(
    conn: Connection, campaign_ids: Sequence[int]
) -> dict[int, CampaignProgress]:
    """Count the recipients of several campaigns by state."""
    query = """
        SELECT campaign_id, state, count(*) FROM shop.campaign_recipients
         WHERE campaign_id = ANY (%s) GROUP BY campaign_id, state
    """
    return _group_counts(campaign_ids, conn.execute(query, (list(campaign_ids),)))


def get_progress_of_small(
    conn: Connection, campaign_ids: Sequence[int], most: int
) -> dict[int, CampaignProgress]:
    """Count the recipients of campaigns that have at most `most`; larger ones are left out.

    How long this takes does not depend on how many recipients the larger ones have.
    """
    query = """
        SELECT c.id, r.state, count(*)
          FROM unnest(%(ids)s::bigint[]) AS c (id)
         CROSS JOIN LATERAL (
               SELECT state FROM shop.campaign_recipients
                WHERE campaign_id = c.id
                LIMIT %(most)s + 1) AS r
         GROUP BY c.id, r.state
    """
    found = _group_counts(
        campaign_ids, conn.execute(query, {"ids": list(campaign_ids), "most": most})
    )
    return {campaign_id: of for campaign_id, of in found.items() if of.total <= most}


def list_recipients(
    conn: Connection, campaign_id: int, *, states: Sequence[str], after: int = 0, limit: int
) -> list[Recipient]:
    """Return the recipients of a campaign that are in one of these states, ordered by id."""
    query = """
        SELECT r.user_id, r.state, r.reason, u.email
          FROM shop.campaign_recipients AS r
          LEFT JOIN shop.users AS u ON u.id = r.user_id
         WHERE r.campaign_id = %(id)s AND r.user_id > %(after)s
           AND r.state = ANY (%(states)s)
         ORDER BY r.user_id
         LIMIT %(limit)s
    """
    values = {"id": campaign_id, "after": after, "states": list(states), "limit": limit}
    with conn.cursor(row_factory=class_row(Recipient)) as cur:
        return cur.execute(query, values).fetchall()


def _group_counts(
    campaign_ids: Sequence[int], rows: Iterable[tuple[Any, ...]]
) -> dict[int, CampaignProgress]:
    counts: dict[int, dict[str, int]] = {campaign_id: {} for campaign_id in campaign_ids}
    for campaign_id, state, count in rows:
        counts[campaign_id][state] = count
    return {campaign_id: CampaignProgress(**found) for campaign_id, found in counts.items()}


def _lock_recipient(
    conn: Connection, campaign_id: int, user_id: int
) -> tuple[RecipientState, int | None, str | None]:
    """Lock a recipient; return their state, and the id and state of their email."""
    query = """
        SELECT r.state, r.email_id, e.state
          FROM shop.campaign_recipients AS r
          LEFT JOIN workshed_mail.emails AS e ON e.id = r.email_id
         WHERE r.campaign_id = %s AND r.user_id = %s
           FOR UPDATE OF r
    """
    found = conn.execute(query, (campaign_id, user_id)).fetchone()
    if found is None:
        raise RecordMissing("recipient", user_id)
    return found[0], found[1], found[2]


def _record_deferral(conn: Connection, campaign_id: int, user_id: int, reason: str) -> None:
    query = """
        UPDATE shop.campaign_recipients SET reason = %s
         WHERE campaign_id = %s AND user_id = %s AND state = 'handed'
    """
    conn.execute(query, (reason, campaign_id, user_id))


def _set_email(conn: Connection, campaign_id: int, user_id: int, email_id: int) -> None:
    query = """
        UPDATE shop.campaign_recipients SET email_id = %s
         WHERE campaign_id = %s AND user_id = %s
    """
    conn.execute(query, (email_id, campaign_id, user_id))


def _record_skip(
    conn: Connection, campaign_id: int, user_id: int, outcome: RecipientOutcome, reason: str | None
) -> SkippedRecipient:
    record_outcome(conn, campaign_id, user_id, outcome, reason)
    return SkippedRecipient(f"user {user_id} is {outcome}" + (f": {reason}" if reason else ""))
