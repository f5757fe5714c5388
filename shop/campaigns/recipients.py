"""The recipients of a campaign: what became of each, and the mail that one is sent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from psycopg.rows import class_row

from shop import people
from shop.campaigns import stored, templates
from workshed.contrib.mail import (
    Email,
    HeldEmail,
    MailDeliveryUnknownError,
    MailError,
    MailRefusedError,
    MailTemporarilyRefusedError,
    RecipientRejectedError,
    emails,
)
from workshed.db import Connection
from workshed.jobs import RecordMissing

Outcome = Literal["sent", "unsubscribed", "gone", "rejected", "unknown", "failed"]
State = Literal["waiting", "handed"] | Outcome

SENDER = "MAIL FROM"
"""The step at which a mail server refuses a sender."""
OPEN = ("handed", "failed")
"""Whose job may send: it is on its way, or was dead and is retried."""
UNSENT = (None, "pending", "failed")
"""States of a mail that nobody has or is being sent; `None`: none was written yet."""


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """How many recipients of a campaign are in which state, at one moment."""

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
        """How many there were when it began."""
        return self.waiting + self.handed + self.ended

    @property
    def summary(self) -> str:
        """What has happened: `4 624 sent, 376 failed`."""
        counts = ((getattr(self, name), name) for name in self.__slots__)
        said = [f"{count:,} {name}".replace(",", " ") for count, name in counts if count]
        return ", ".join(said) or "0 sent"

    @property
    def missed(self) -> int:
        """How many have ended without the mail, and did not leave by themselves."""
        return self.rejected + self.unknown + self.failed

    @property
    def ended(self) -> int:
        """How many have an outcome."""
        return (
            self.sent + self.unsubscribed + self.gone + self.rejected + self.unknown + self.failed
        )


@dataclass(frozen=True, slots=True)
class Recipient:
    """A row of `shop.campaign_recipients`, with the address of who is still there."""

    user_id: int
    state: State
    reason: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class SkippedRecipient:
    """Why there is no mail to send."""

    reason: str


def claim(conn: Connection, campaign_id: int, user_id: int) -> Email | SkippedRecipient:
    """Claim the mail of a recipient, stored first if need be, or say why there is none to send.

    All is asked now: whether the campaign is paused, and whether the person has unsubscribed or
    gone. A mail whose fate is unknown is held. Raises `RecordMissing`, `TemplateError`, `Snooze`
    while another worker sends it, and `MailServerAway`.
    """
    campaign = stored.find(conn, campaign_id)
    if campaign.state != "sending":
        campaign = stored.share(
            conn, campaign_id
        )  # so that nobody resumes it before the row is back
        if campaign.state in ("paused", "cancelled"):
            put_back(conn, campaign_id, user_id)
            return SkippedRecipient(f"campaign {campaign_id} is {campaign.state}")
    state, email_id, mail = _locked(conn, campaign_id, user_id)
    if state not in OPEN:
        return SkippedRecipient(f"user {user_id} is {state}")
    try:
        user = people.lock(conn, user_id)
    except RecordMissing:
        return _ended(conn, campaign_id, user_id, "gone", "deleted since the campaign began")
    if email_id is not None and emails.mark_unknown(conn, email_id):
        return _ended(conn, campaign_id, user_id, "unknown", "it may or may not have arrived")
    if user.unsubscribed_at is not None and mail in UNSENT:
        return _ended(conn, campaign_id, user_id, "unsubscribed", "since the campaign began")
    if email_id is None:
        email_id = emails.store(conn, templates.draft(campaign, user))
        _remember(conn, campaign_id, user_id, email_id)
    email = emails.claim(conn, email_id)
    assert not isinstance(email, HeldEmail)  # noqa: S101 -- nor is it sent again where it may have come
    return email or _ended(conn, campaign_id, user_id, "sent", None)


def arrived(conn: Connection, campaign_id: int, email: Email) -> None:
    """Note that the mail of a recipient was accepted, also when it was held meanwhile."""
    assert email.user_id is not None  # noqa: S101 -- of a campaign, each is somebody's
    note(conn, campaign_id, int(email.user_id), "sent")  # first: a copy locks them in this order
    emails.mark_arrived(conn, email)


def note(
    conn: Connection, campaign_id: int, user_id: int, outcome: Outcome, reason: str | None = None
) -> None:
    """Write down what became of a recipient, and why if it was not sent."""
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


def note_error(
    conn: Connection, campaign_id: int, user_id: int, error: MailError
) -> timedelta | None:
    """Write down what follows from a mail that was not accepted.

    One that is refused for its sender would be for everybody: the campaign is paused, and says why;
    so it is when most are refused for their text. Where most are refused for now, it pauses for the
    time that is returned, after which the caller's job lets it go on.
    """
    rest = None
    match error:
        case MailDeliveryUnknownError():
            note(conn, campaign_id, user_id, "unknown", str(error))
        case MailRefusedError(step=step) if step == SENDER:
            stored.lock(conn, campaign_id)  # or somebody resumes it before this one is back
            stored.pause(conn, campaign_id, str(error))
            put_back(conn, campaign_id, user_id)
        case MailRefusedError():
            stored.pause_where_most_are_refused(conn, campaign_id, user_id, str(error))
            note(conn, campaign_id, user_id, "rejected", str(error))
        case RecipientRejectedError():
            note(conn, campaign_id, user_id, "rejected", str(error))
        case MailTemporarilyRefusedError():
            stored.lock(conn, campaign_id)
            _note_put_off(conn, campaign_id, user_id, str(error))
            rest = stored.pause_where_most_are_put_off(conn, campaign_id, user_id, str(error))
            if rest is not None:
                put_back(conn, campaign_id, user_id)
    return rest


def pause_for(
    conn: Connection, campaign_id: int, user_id: int, error: str, span: timedelta
) -> tuple[bool, bool]:
    """Pause a campaign for a while, and let a recipient wait until then.

    Returns whether it was being sent, so that the caller sends the job that resumes it; and whether
    the recipient waits.
    """
    state = stored.lock(conn, campaign_id).state
    pauses = state == "sending" and stored.pause_for(conn, campaign_id, error, span)
    waits = (pauses or state == "paused") and put_back(conn, campaign_id, user_id)
    return pauses, waits


def put_back(conn: Connection, campaign_id: int, user_id: int) -> bool:
    """Let a recipient who was handed out wait until the campaign is resumed; False for another.

    The caller has the campaign locked: who resumes it looks for them.
    """
    query = """
        UPDATE shop.campaign_recipients SET state = 'waiting', reason = NULL
         WHERE campaign_id = %s AND user_id = %s AND state = 'handed'
    """
    return conn.execute(query, (campaign_id, user_id)).rowcount == 1


def progress(conn: Connection, campaign_id: int) -> CampaignProgress:
    """Count the recipients of a campaign by their state."""
    return progress_of_each(conn, [campaign_id])[campaign_id]


def progress_of_each(conn: Connection, campaign_ids: Sequence[int]) -> dict[int, CampaignProgress]:
    """Count the recipients of some campaigns by their state."""
    query = """
        SELECT campaign_id, state, count(*) FROM shop.campaign_recipients
         WHERE campaign_id = ANY (%s) GROUP BY campaign_id, state
    """
    return _counted(campaign_ids, conn.execute(query, (list(campaign_ids),)))


def progress_of_small(
    conn: Connection, campaign_ids: Sequence[int], most: int
) -> dict[int, CampaignProgress]:
    """Count the recipients of those campaigns that have at most so many; the others are left out.

    In a time that does not depend on how many those have.
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
    found = _counted(campaign_ids, conn.execute(query, {"ids": list(campaign_ids), "most": most}))
    return {campaign_id: of for campaign_id, of in found.items() if of.total <= most}


def find(
    conn: Connection, campaign_id: int, *, states: Sequence[str], after: int = 0, limit: int
) -> list[Recipient]:
    """Return recipients of a campaign that are in one of these states, by their ids."""
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


def _counted(
    campaign_ids: Sequence[int], rows: Iterable[tuple[Any, ...]]
) -> dict[int, CampaignProgress]:
    counts: dict[int, dict[str, int]] = {campaign_id: {} for campaign_id in campaign_ids}
    for campaign_id, state, count in rows:
        counts[campaign_id][state] = count
    return {campaign_id: CampaignProgress(**found) for campaign_id, found in counts.items()}


def _locked(
    conn: Connection, campaign_id: int, user_id: int
) -> tuple[State, int | None, str | None]:
    """Return state, mail and the mail's state of a recipient, whom nobody changes meanwhile."""
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


def _note_put_off(conn: Connection, campaign_id: int, user_id: int, reason: str) -> None:
    query = """
        UPDATE shop.campaign_recipients SET reason = %s
         WHERE campaign_id = %s AND user_id = %s AND state = 'handed'
    """
    conn.execute(query, (reason, campaign_id, user_id))


def _remember(conn: Connection, campaign_id: int, user_id: int, email_id: int) -> None:
    query = """
        UPDATE shop.campaign_recipients SET email_id = %s
         WHERE campaign_id = %s AND user_id = %s
    """
    conn.execute(query, (email_id, campaign_id, user_id))


def _ended(
    conn: Connection, campaign_id: int, user_id: int, outcome: Outcome, reason: str | None
) -> SkippedRecipient:
    note(conn, campaign_id, user_id, outcome, reason)
    return SkippedRecipient(f"user {user_id} is {outcome}" + (f": {reason}" if reason else ""))
