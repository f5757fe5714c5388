"""Campaigns: what each says, and the one place in which its state changes."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, LiteralString

from psycopg.rows import args_row, class_row

from workshed.campaigns.errors import CampaignNameError, CampaignStateError
from workshed.db import Connection
from workshed.jobs import RecordMissing

State = Literal["draft", "starting", "sending", "paused", "sent", "cancelled", "refused"]
Audience = Literal["everyone", "active", "inactive"]

ONE: Final = """
    SELECT id, name, audience, subject, text_body, html_body, state, error, batch::text, reached,
           created_at, started_at, ended_at
      FROM product.campaigns
"""
Again = Literal["rejected", "unknown", "failed"]
"""Who has no mail, and might get one after all."""
LONGEST_NAME: Final = 200
NOT_IN_A_NAME: Final = ("Cc", "Cs", "Zl", "Zp")
FEW: Final = 10
"""So many refusals are nobody's fault but theirs."""
UNBEGUN: Final = ("draft", "starting")
AUDIENCE: Final = """
          FROM product.campaigns AS c
          JOIN product.users AS u
            ON u.unsubscribed_at IS NULL
           AND (c.audience = 'everyone' OR (c.audience = 'active') = (u.activated_at IS NOT NULL))
         WHERE c.id = %s
"""


@dataclass(frozen=True, slots=True)
class Campaign:
    """A row of `product.campaigns`."""

    id: int
    name: str
    audience: Audience
    subject: str
    text_body: str
    html_body: str | None
    state: State
    error: str | None
    """Why it was refused, or paused by itself."""
    batch: str | None
    """Id of the batch that recipients are handed out to, while they are."""
    reached: int
    """The recipient who was handed out last."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Handed:
    """Recipients who are handed out together, in the order of their ids."""

    batch: str
    users: list[int]
    is_last: bool
    """Whether there are no more, so that the batch can be closed."""


def create(
    conn: Connection,
    *,
    name: str,
    subject: str,
    text: str,
    html: str | None = None,
    audience: Audience = "everyone",
) -> Campaign:
    """Store a draft; subject, text and HTML are templates, which `check` tries out.

    Raises `CampaignNameError`.
    """
    if problem := _problem(name):
        raise CampaignNameError(name, problem)
    query = """
        INSERT INTO product.campaigns (name, audience, subject, text_body, html_body)
        VALUES (%s, %s, %s, %s, %s) RETURNING id
    """
    with conn.cursor(row_factory=args_row(int)) as cur:
        campaign_id = cur.execute(query, (name, audience, subject, text, html)).fetchone()
    assert campaign_id is not None  # noqa: S101 -- it was stored
    return find(conn, campaign_id)


def find(conn: Connection, campaign_id: int) -> Campaign:
    """Return a campaign; raises `RecordMissing` when there is none."""
    return _campaign(conn, ONE + "WHERE id = %s", campaign_id)


def lock(conn: Connection, campaign_id: int) -> Campaign:
    """Return a campaign as it is until the transaction ends; raises `RecordMissing`.

    Before any of its recipients is locked: all who lock both do it in this order.
    """
    return _campaign(conn, ONE + "WHERE id = %s FOR NO KEY UPDATE", campaign_id)


def share(conn: Connection, campaign_id: int) -> Campaign:
    """Return a campaign as it is until the transaction ends, for many at a time; like `lock`."""
    return _campaign(conn, ONE + "WHERE id = %s FOR SHARE", campaign_id)


def every(conn: Connection, limit: int, *, before: int | None = None) -> list[Campaign]:
    """Return campaigns, the latest first; those before the id `before`, when it is given."""
    query = """
         WHERE %(before)s::bigint IS NULL OR id < %(before)s
         ORDER BY id DESC
         LIMIT %(limit)s
    """
    with conn.cursor(row_factory=class_row(Campaign)) as cur:
        return cur.execute(ONE + query, {"before": before, "limit": limit}).fetchall()


def refuse(conn: Connection, campaign_id: int, reason: str) -> None:
    """End a campaign of which nothing can be sent."""
    query = """
        UPDATE product.campaigns SET state = 'refused', error = %s, ended_at = jobs.now()
         WHERE id = %s AND state IN ('draft', 'starting')
    """
    conn.execute(query, (reason, campaign_id))


def audience(conn: Connection, campaign_id: int) -> int:
    """Count who would be its recipients if it began now."""
    query = f"SELECT count(*) {AUDIENCE}"
    (count,) = conn.execute(query, (campaign_id,)).fetchone() or (0,)
    return int(count)


def start(conn: Connection, campaign_id: int) -> Campaign:
    """Let a draft be sent, by the job that the caller sends; raises `CampaignStateError`."""
    found = lock(conn, campaign_id)
    if found.state != "draft":
        raise CampaignStateError(campaign_id, found.state, "started")
    conn.execute("UPDATE product.campaigns SET state = 'starting' WHERE id = %s", (campaign_id,))
    return found


def begin(conn: Connection, campaign_id: int, batch: str) -> bool:
    """Take the audience, in one statement; False where that was done before."""
    if lock(conn, campaign_id).state not in UNBEGUN:
        return False
    query = f"""
        INSERT INTO product.campaign_recipients (campaign_id, user_id)
        SELECT c.id, u.id {AUDIENCE} ORDER BY u.id
    """
    conn.execute(query, (campaign_id,))
    query = """
        UPDATE product.campaigns SET state = 'sending', started_at = jobs.now(), batch = %s
         WHERE id = %s
    """
    conn.execute(query, (batch, campaign_id))
    return True


def hand_out(conn: Connection, campaign_id: int, after: int, most: int) -> Handed | None:
    """Return the next recipients, at most so many, for whom the caller sends jobs with this commit.

    `after` is who was reached when the caller was sent: of several that were sent with the same
    one only the first is given any. `None`: nothing is to be done, nor afterwards.
    """
    found = lock(conn, campaign_id)
    if found.state != "sending" or found.batch is None or found.reached != after:
        return None
    query = "SELECT product.hand_out(%s, %s, %s, %s)"
    with conn.cursor(row_factory=args_row(int)) as cur:
        users = sorted(cur.execute(query, (campaign_id, after, most, found.batch)))
    handed = Handed(found.batch, users, is_last=len(users) < most)
    query = """
        UPDATE product.campaigns
           SET reached = %(reached)s, batch = CASE WHEN %(is_last)s THEN NULL ELSE batch END
         WHERE id = %(id)s
    """
    reached = {"reached": max([after, *users]), "is_last": handed.is_last}
    conn.execute(query, {"id": campaign_id, **reached})
    return handed


def pause(conn: Connection, campaign_id: int, error: str | None = None) -> bool:
    """Let no more of it be sent; False where it is not being sent. `error`: why, if by itself."""
    query = """
        UPDATE product.campaigns SET state = 'paused', error = %s
         WHERE id = %s AND state = 'sending'
    """
    return conn.execute(query, (error, campaign_id)).rowcount == 1


def pause_where_most_are_refused(
    conn: Connection, campaign_id: int, user_id: int, error: str
) -> None:
    """Pause a campaign whose text the mail server refuses to most: to the rest it would as well.

    Of the thousand up to this user.
    """
    query = """
        UPDATE product.campaigns SET state = 'paused', error = %(error)s
         WHERE id = %(id)s AND state = 'sending'
           AND product.most_are_refused(%(id)s, %(user_id)s, %(few)s)
    """
    conn.execute(query, {"id": campaign_id, "user_id": user_id, "error": error, "few": FEW})


def resume(conn: Connection, campaign_id: int, batch: str, again: Sequence[Again] = ()) -> Campaign:
    """Let it be sent on; the caller hands out from `reached` on, and opens the batch if it is new.

    Also of one that is being sent, where what hands it out was lost; of one that is starting
    nothing changes, and the caller sends its first job again. `again`: to whom it is sent anew,
    also of one that was sent; of `unknown` some may get it twice. Raises `CampaignStateError`.
    """
    found = lock(conn, campaign_id)
    if found.state == "starting":
        return found
    if found.state not in ("sending", "paused", *(["sent"] if again else [])):
        raise CampaignStateError(campaign_id, found.state, "resumed")
    back = """
        WITH chosen AS (
            SELECT user_id, state, email_id FROM product.campaign_recipients
             WHERE campaign_id = %(id)s AND state = ANY (%(again)s)
               FOR UPDATE
        ), back AS (
            UPDATE product.campaign_recipients AS r SET state = 'waiting', reason = NULL
              FROM chosen
             WHERE r.campaign_id = %(id)s AND r.user_id = chosen.user_id
        )
        UPDATE product.emails AS e SET state = 'pending', claim = NULL, claimed_until = NULL
          FROM chosen
         WHERE e.id = chosen.email_id AND chosen.state = 'unknown'
           AND (e.state = 'unknown' OR e.state = 'sending' AND e.claimed_until <= jobs.now())
    """
    conn.execute(back, {"id": campaign_id, "again": list(again)})
    query = """
        UPDATE product.campaigns
           SET state = 'sending', error = NULL, ended_at = NULL, batch = COALESCE(batch, %(batch)s),
               -- Who was put back while it was paused comes first.
               reached = LEAST(reached, (
                   SELECT min(user_id) - 1 FROM product.campaign_recipients
                    WHERE campaign_id = %(id)s AND state = 'waiting'))
         WHERE id = %(id)s
    """
    conn.execute(query, {"id": campaign_id, "batch": batch})
    return find(conn, campaign_id)


def cancel(conn: Connection, campaign_id: int) -> list[str]:
    """Let it never be sent on; return the ids of the batches that it had.

    Raises `CampaignStateError`.
    """
    found = lock(conn, campaign_id)
    if found.ended_at is not None:
        raise CampaignStateError(campaign_id, found.state, "cancelled")
    query = """
        UPDATE product.campaigns SET state = 'cancelled', batch = NULL, ended_at = jobs.now()
         WHERE id = %s
    """
    conn.execute(query, (campaign_id,))
    query = """
        SELECT DISTINCT batch::text FROM product.campaign_recipients
         WHERE campaign_id = %s AND state = 'handed'
    """
    batches = {batch for (batch,) in conn.execute(query, (campaign_id,))}
    return sorted(batches | ({found.batch} if found.batch else set()))


def leave_batch(conn: Connection, campaign_id: int, batch: str | None, reason: str) -> None:
    """Pause a campaign whose batch was cancelled; it goes on in another."""
    query = """
        UPDATE product.campaigns SET state = 'paused', batch = NULL, error = %s
         WHERE id = %s AND state = 'sending' AND batch = %s
    """
    conn.execute(query, (reason, campaign_id, batch))


def end_batch(conn: Connection, campaign_id: int, batch: str) -> bool:
    """Note that all jobs of a batch have ended; return whether the campaign has with them.

    Who has no outcome by then will get none, unless his job is retried.
    """
    lock(conn, campaign_id)
    failed = """
        UPDATE product.campaign_recipients AS r
           SET state = CASE WHEN m.may_have_come THEN 'unknown' ELSE 'failed' END,
               reason = CASE WHEN m.may_have_come THEN 'it may or may not have arrived'
                             ELSE 'its job died, or was cancelled' END
          FROM (SELECT r.user_id, COALESCE(e.state IN ('sending', 'unknown'), false)
                  FROM product.campaign_recipients AS r
                  LEFT JOIN product.emails AS e ON e.id = r.email_id
                 WHERE r.campaign_id = %(id)s AND r.batch = %(batch)s AND r.state = 'handed'
               ) AS m (user_id, may_have_come)
         WHERE r.campaign_id = %(id)s AND r.user_id = m.user_id
    """
    conn.execute(failed, {"id": campaign_id, "batch": batch})
    query = """
        UPDATE product.campaigns SET state = 'sent', ended_at = jobs.now()
         WHERE id = %(id)s AND state = 'sending' AND batch IS NULL
           AND NOT EXISTS (
               SELECT FROM product.campaign_recipients
                WHERE campaign_id = %(id)s AND state IN ('waiting', 'handed'))
    """
    return conn.execute(query, {"id": campaign_id}).rowcount == 1


def prune(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete campaigns that ended so long ago, at most `limit` rows; return how many.

    Their mails and recipients go first, so that one that is gone leaves nothing.
    """
    values = {"older_than": older_than, "limit": limit}
    recipients = """
        WITH gone AS (
            DELETE FROM product.campaign_recipients
             WHERE (campaign_id, user_id) IN (
                   SELECT r.campaign_id, r.user_id
                     FROM product.campaigns AS c
                     JOIN product.campaign_recipients AS r ON r.campaign_id = c.id
                    WHERE c.ended_at < jobs.now() - %(older_than)s
                    LIMIT %(limit)s
                      FOR UPDATE OF r SKIP LOCKED)
            RETURNING email_id
        ), mails AS (
            DELETE FROM product.emails USING gone WHERE emails.id = gone.email_id
        )
        SELECT FROM gone
    """
    deleted = conn.execute(recipients, values).rowcount
    campaigns = """
        DELETE FROM product.campaigns
         WHERE id IN (
               SELECT id FROM product.campaigns AS c
                WHERE ended_at < jobs.now() - %(older_than)s
                  AND NOT EXISTS (
                      SELECT FROM product.campaign_recipients WHERE campaign_id = c.id)
                LIMIT %(limit)s
                  FOR UPDATE SKIP LOCKED)
    """
    return deleted + conn.execute(campaigns, values | {"limit": limit - deleted}).rowcount


def _problem(name: str) -> str:
    if not 1 <= len(name) <= LONGEST_NAME:
        return f"it has {len(name)} characters, and not 1 to {LONGEST_NAME}"
    if any(unicodedata.category(c) in NOT_IN_A_NAME for c in name):
        return "it holds a control character, or half of one"
    return ""


def _campaign(conn: Connection, query: LiteralString, campaign_id: int) -> Campaign:
    with conn.cursor(row_factory=class_row(Campaign)) as cur:
        found = cur.execute(query, (campaign_id,)).fetchone()
    if found is None:
        raise RecordMissing("campaign", campaign_id)
    return found
