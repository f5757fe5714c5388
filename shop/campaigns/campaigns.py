"""Campaigns as stored; this is the only module that changes the state of one."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, LiteralString

from psycopg import sql
from psycopg.rows import args_row, class_row

from shop.campaigns.errors import CampaignNameError, CampaignStateError, EmptyAudienceError
from workshed.db import Connection
from workshed.jobs import RecordMissing
from workshed.pruning import delete_old_rows

CampaignState = Literal["draft", "starting", "sending", "paused", "sent", "cancelled", "refused"]
Audience = Literal["everyone", "active", "inactive"]
"""Which users get it, out of those who have not unsubscribed when it begins."""

SELECT_CAMPAIGN: Final = """
    SELECT id, name, CASE WHEN chosen THEN 'chosen' ELSE audience END AS audience, subject,
           text_body, html_body, state, error, batch::text, cursor,
           created_at, started_at, ended_at, starts_at,
           CASE WHEN state = 'paused' THEN resumes_at END AS resumes_at
      FROM shop.campaigns
"""
ResendState = Literal["rejected", "unknown", "failed"]
"""Outcomes without a confirmed email, whose recipients may be sent it again."""
MAX_NAME_LENGTH: Final = 200
FORBIDDEN_CATEGORIES: Final = ("Cc", "Cs", "Zl", "Zp")
TOLERATED_REFUSALS: Final = 10
"""So many refusals are taken for problems of single recipients; they never pause a campaign."""
UNSTARTED_STATES: Final = ("draft", "starting")
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=1)
"""Pause of a campaign whose emails are deferred; it doubles if they are deferred again at once."""
AUDIENCE_SQL: Final = """
          FROM shop.campaigns AS c
          JOIN shop.users AS u
            ON u.unsubscribed_at IS NULL
           AND CASE
                   WHEN c.chosen THEN u.id IN (SELECT user_id FROM shop.campaign_recipients
                                                WHERE campaign_id = %(id)s)
                   WHEN c.audience = 'everyone' THEN true
                   ELSE (c.audience = 'active') = (u.activated_at IS NOT NULL)
               END
         WHERE c.id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class Campaign:
    """A row of `shop.campaigns`."""

    id: int
    name: str
    audience: Audience | Literal["chosen"]
    subject: str
    text_body: str
    html_body: str | None
    state: CampaignState
    error: str | None
    """Why it was refused, or paused automatically."""
    batch: str | None
    """Id of the batch that recipients' jobs are added to, while they are handed out."""
    cursor: int
    """The user id of the recipient who was handed out last."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    starts_at: datetime | None = None
    """When it is to begin; `None`: as soon as it is started."""
    resumes_at: datetime | None = None
    """When it resumes automatically, while it is paused because no email could be sent."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Recipients chosen by a query of the application that returns user ids.

    For example `Choice("SELECT customer_id FROM orders WHERE placed_at > %s", (since,))`. Ids that
    belong to no user, and users who have unsubscribed, are left out.
    """

    query: LiteralString | sql.Composable
    values: Sequence[object] | Mapping[str, object] = ()


@dataclass(frozen=True, slots=True)
class RecipientBatch:
    """Recipients who are handed out together, ordered by user id."""

    batch: str
    user_ids: list[int]
    is_last: bool
    """Whether there are no more, so that the batch can be closed."""


def create(
    conn: Connection,
    *,
    name: str,
    subject: str,
    text: str,
    html: str | None = None,
    audience: Audience | Iterable[int] | Choice = "everyone",
) -> Campaign:
    """Store a draft. Subject, text and HTML are templates; `check` renders them.

    A named `audience` is evaluated when the campaign begins. User ids or a `Choice` are evaluated
    now, in one statement. Raises `CampaignNameError`, and `EmptyAudienceError` if none of the
    chosen recipients can be sent it.
    """
    if problem := _name_problem(name):
        raise CampaignNameError(name, problem)
    query = """
        INSERT INTO shop.campaigns (name, audience, chosen, subject, text_body, html_body)
        VALUES (%s, %s, %s, %s, %s, %s) RETURNING id
    """
    is_chosen = not isinstance(audience, str)
    with conn.cursor(row_factory=args_row(int)) as cur:
        whom = audience if isinstance(audience, str) else "everyone"
        values = (name, whom, is_chosen, subject, text, html)
        campaign_id = cur.execute(query, values).fetchone()
    assert campaign_id is not None  # noqa: S101 -- it was stored
    if isinstance(audience, Choice):
        _insert_chosen(conn, campaign_id, audience)
    elif not isinstance(audience, str):
        ids = "SELECT unnest(%(ids)s::bigint[])"
        _insert_chosen(conn, campaign_id, Choice(ids, {"ids": list(audience)}))
    return get_campaign(conn, campaign_id)


def get_campaign(conn: Connection, campaign_id: int) -> Campaign:
    """Return a campaign; raises `RecordMissing` when there is none."""
    return _fetch_campaign(conn, SELECT_CAMPAIGN + "WHERE id = %s", campaign_id)


def lock(conn: Connection, campaign_id: int) -> Campaign:
    """Lock a campaign until the transaction ends, and return it; raises `RecordMissing`.

    Lock the campaign before any of its recipients: every caller that locks both uses this order.
    """
    return _fetch_campaign(conn, SELECT_CAMPAIGN + "WHERE id = %s FOR NO KEY UPDATE", campaign_id)


def lock_shared(conn: Connection, campaign_id: int) -> Campaign:
    """Like `lock`, but with a shared lock, which many transactions can hold at a time."""
    return _fetch_campaign(conn, SELECT_CAMPAIGN + "WHERE id = %s FOR SHARE", campaign_id)


def list_campaigns(conn: Connection, limit: int, *, before: int | None = None) -> list[Campaign]:
    """Return campaigns, the newest first; with `before`, only those with a smaller id."""
    query = """
         WHERE %(before)s::bigint IS NULL OR id < %(before)s
         ORDER BY id DESC
         LIMIT %(limit)s
    """
    with conn.cursor(row_factory=class_row(Campaign)) as cur:
        return cur.execute(SELECT_CAMPAIGN + query, {"before": before, "limit": limit}).fetchall()


def refuse(conn: Connection, campaign_id: int, reason: str) -> None:
    """End a campaign that cannot be sent at all."""
    query = """
        UPDATE shop.campaigns SET state = 'refused', error = %s, ended_at = workshed.now()
         WHERE id = %s AND state IN ('draft', 'starting')
    """
    conn.execute(query, (reason, campaign_id))


def count_audience(conn: Connection, campaign_id: int) -> int:
    """Count the recipients that it would have if it began now."""
    query = f"SELECT count(*) {AUDIENCE_SQL}"
    (count,) = conn.execute(query, {"id": campaign_id}).fetchone() or (0,)
    return int(count)


def start(conn: Connection, campaign_id: int, at: datetime | None = None) -> Campaign:
    """Mark a draft as starting; the caller sends the job. Raises `CampaignStateError`.

    `at` is when that job is due.
    """
    found = lock(conn, campaign_id)
    if found.state != "draft":
        raise CampaignStateError(campaign_id, found.state, "started")
    query = "UPDATE shop.campaigns SET state = 'starting', starts_at = %s WHERE id = %s"
    conn.execute(query, (at, campaign_id))
    return found


def snapshot_audience(conn: Connection, campaign_id: int, batch: str) -> bool:
    """Store the recipients, in one statement; False if that was done before.

    If the recipients were chosen, those who were deleted or unsubscribed since are removed.
    """
    found = lock(conn, campaign_id)
    if found.state not in UNSTARTED_STATES:
        return False
    query = f"""
        INSERT INTO shop.campaign_recipients (campaign_id, user_id)
        SELECT c.id, u.id {AUDIENCE_SQL} ORDER BY u.id
    """
    if found.audience == "chosen":
        query = """
            DELETE FROM shop.campaign_recipients AS r
             WHERE campaign_id = %(id)s
               AND NOT EXISTS (SELECT FROM shop.users AS u
                                WHERE u.id = r.user_id AND u.unsubscribed_at IS NULL)
        """
    conn.execute(query, {"id": campaign_id})
    query = """
        UPDATE shop.campaigns SET state = 'sending', started_at = workshed.now(), batch = %s
         WHERE id = %s
    """
    conn.execute(query, (batch, campaign_id))
    return True


def next_recipients(
    conn: Connection, campaign_id: int, after: int, most: int
) -> RecipientBatch | None:
    """Return the next recipients, at most `most`; the caller sends their jobs in this transaction.

    `after` is the `cursor` at the time when the calling job was sent. If several such jobs have the
    same cursor, only the first gets recipients. `None`: there is nothing to do, now or later.
    """
    found = lock(conn, campaign_id)
    if found.state != "sending" or found.batch is None or found.cursor != after:
        return None
    query = "SELECT shop.assign_recipients(%s, %s, %s, %s)"
    with conn.cursor(row_factory=args_row(int)) as cur:
        users = sorted(cur.execute(query, (campaign_id, after, most, found.batch)))
    handed = RecipientBatch(found.batch, users, is_last=len(users) < most)
    query = """
        UPDATE shop.campaigns
           SET cursor = %(cursor)s, batch = CASE WHEN %(is_last)s THEN NULL ELSE batch END
         WHERE id = %(id)s
    """
    values = {"cursor": max([after, *users]), "is_last": handed.is_last}
    conn.execute(query, {"id": campaign_id, **values})
    return handed


def pause(conn: Connection, campaign_id: int, error: str | None = None) -> bool:
    """Pause a campaign; False if it is not being sent. `error`: why, if it pauses automatically.

    If it had paused for a limited time, it no longer resumes automatically.
    """
    query = """
        UPDATE shop.campaigns
           SET state = 'paused', error = COALESCE(%s, error), resumes_at = NULL, pauses_for = NULL
         WHERE id = %s AND (state = 'sending' OR state = 'paused' AND resumes_at IS NOT NULL)
    """
    return conn.execute(query, (error, campaign_id)).rowcount == 1


def pause_for(conn: Connection, campaign_id: int, error: str, span: timedelta) -> bool:
    """Pause a campaign for `span`; the caller sends the job that resumes it then.

    Returns False if it is not being sent.
    """
    query = """
        UPDATE shop.campaigns
           SET state = 'paused', error = %(error)s, resumes_at = workshed.now() + %(span)s,
               pauses_for = %(span)s
         WHERE id = %(id)s AND state = 'sending'
    """
    values = {"id": campaign_id, "error": error, "span": span}
    return conn.execute(query, values).rowcount == 1


def pause_if_mostly_deferred(
    conn: Connection, campaign_id: int, user_id: int, error: str
) -> timedelta | None:
    """Pause a campaign if most emails are deferred; return for how long, or `None`.

    This looks at the last thousand recipients up to this user. If the previous pause ended less
    than its own length ago, the new one is twice as long.
    """
    query = """
        UPDATE shop.campaigns AS c
           SET state = 'paused', error = %(error)s, pauses_for = p.span,
               resumes_at = workshed.now() + p.span
          FROM (SELECT CASE WHEN resumes_at > workshed.now() - pauses_for
                            THEN least(2 * pauses_for, %(longest)s)
                            ELSE %(first)s END AS span
                  FROM shop.campaigns WHERE id = %(id)s) AS p
         WHERE c.id = %(id)s AND c.state = 'sending'
           AND shop.is_mostly_deferred(%(id)s, %(user_id)s, %(few)s)
        RETURNING p.span
    """
    values = {
        "id": campaign_id,
        "user_id": user_id,
        "error": error,
        "few": TOLERATED_REFUSALS,
        "first": FIRST_PAUSE,
        "longest": LONGEST_PAUSE,
    }
    found = conn.execute(query, values).fetchone()
    span: timedelta | None = found[0] if found else None
    return span


def remaining_pause(conn: Connection, campaign_id: int) -> timedelta | None:
    """Return how long until an automatically paused campaign resumes; `None`: it does not.

    Zero or less means now. Locks it until the transaction ends. Raises `RecordMissing`.
    """
    if lock(conn, campaign_id).resumes_at is None:
        return None
    query = "SELECT resumes_at - workshed.now() FROM shop.campaigns WHERE id = %s"
    found = conn.execute(query, (campaign_id,)).fetchone()
    assert found is not None  # noqa: S101 -- it is locked
    left: timedelta = found[0]
    return left


def extend_pause(conn: Connection, campaign_id: int, error: str, span: timedelta) -> None:
    """Let an automatically paused campaign resume later, and record why."""
    query = """
        UPDATE shop.campaigns SET resumes_at = workshed.now() + %s, error = %s
         WHERE id = %s AND state = 'paused' AND resumes_at IS NOT NULL
    """
    conn.execute(query, (span, error, campaign_id))


def pause_if_mostly_rejected(conn: Connection, campaign_id: int, user_id: int, error: str) -> None:
    """Pause a campaign if the mail server refuses most emails, because it would refuse the rest.

    This looks at the last thousand recipients up to this user.
    """
    query = """
        UPDATE shop.campaigns
           SET state = 'paused', error = %(error)s, resumes_at = NULL, pauses_for = NULL
         WHERE id = %(id)s AND state = 'sending'
           AND shop.is_mostly_rejected(%(id)s, %(user_id)s, %(few)s)
    """
    conn.execute(
        query, {"id": campaign_id, "user_id": user_id, "error": error, "few": TOLERATED_REFUSALS}
    )


def resume(
    conn: Connection,
    campaign_id: int,
    batch: str,
    again: Sequence[ResendState] = (),
    *,
    by_itself: bool = False,
) -> Campaign:
    """Resume a campaign; the caller hands out from `cursor` on, and opens the batch if it is new.

    This also helps a campaign that is being sent but has lost the job that hands out recipients. A
    campaign that is starting is not changed; the caller sends its first job again. Recipients with
    an outcome in `again` are sent it once more, even if the campaign was sent; of the `unknown`
    ones, some may get it twice. With `by_itself`, the length of the pause is remembered, so that
    another pause soon afterwards is longer.

    Raises `CampaignStateError`.
    """
    found = lock(conn, campaign_id)
    if found.state == "starting":
        return found
    if found.state not in ("sending", "paused", *(["sent"] if again else [])):
        raise CampaignStateError(campaign_id, found.state, "resumed")
    back = """
        WITH chosen AS (
            SELECT user_id, state, email_id FROM shop.campaign_recipients
             WHERE campaign_id = %(id)s AND state = ANY (%(again)s)
               FOR UPDATE
        ), back AS (
            UPDATE shop.campaign_recipients AS r SET state = 'waiting', reason = NULL
              FROM chosen
             WHERE r.campaign_id = %(id)s AND r.user_id = chosen.user_id
        )
        UPDATE workshed_mail.emails AS e SET state = 'pending', claim = NULL, claimed_until = NULL
          FROM chosen
         WHERE e.id = chosen.email_id AND chosen.state = 'unknown'
           AND (e.state = 'unknown' OR e.state = 'sending' AND e.claimed_until <= workshed.now())
    """
    conn.execute(back, {"id": campaign_id, "again": list(again)})
    query = """
        UPDATE shop.campaigns
           SET state = 'sending', error = NULL, ended_at = NULL, batch = COALESCE(batch, %(batch)s),
               resumes_at = CASE WHEN %(by_itself)s THEN resumes_at END,
               pauses_for = CASE WHEN %(by_itself)s THEN pauses_for END,
               -- Recipients who were put back during the pause come first.
               cursor = LEAST(cursor, (
                   SELECT min(user_id) - 1 FROM shop.campaign_recipients
                    WHERE campaign_id = %(id)s AND state = 'waiting'))
         WHERE id = %(id)s
    """
    conn.execute(query, {"id": campaign_id, "batch": batch, "by_itself": by_itself})
    return get_campaign(conn, campaign_id)


def cancel(conn: Connection, campaign_id: int) -> list[str]:
    """Cancel a campaign; return the ids of its batches.

    Raises `CampaignStateError`.
    """
    found = lock(conn, campaign_id)
    if found.ended_at is not None:
        raise CampaignStateError(campaign_id, found.state, "cancelled")
    query = """
        UPDATE shop.campaigns SET state = 'cancelled', batch = NULL, ended_at = workshed.now()
         WHERE id = %s
    """
    conn.execute(query, (campaign_id,))
    query = """
        SELECT DISTINCT batch::text FROM shop.campaign_recipients
         WHERE campaign_id = %s AND state = 'handed'
    """
    batches = {batch for (batch,) in conn.execute(query, (campaign_id,))}
    return sorted(batches | ({found.batch} if found.batch else set()))


def detach_cancelled_batch(
    conn: Connection, campaign_id: int, batch: str | None, reason: str
) -> None:
    """Pause a campaign whose batch was cancelled; it resumes in another batch."""
    query = """
        UPDATE shop.campaigns
           SET state = 'paused', batch = NULL, error = %s, resumes_at = NULL, pauses_for = NULL
         WHERE id = %s AND state = 'sending' AND batch = %s
    """
    conn.execute(query, (reason, campaign_id, batch))


def complete_batch(conn: Connection, campaign_id: int, batch: str) -> bool:
    """Record that all jobs of a batch have ended; return whether the campaign has ended as well.

    A recipient without an outcome by then is `failed` or `unknown`, unless the job is retried.
    """
    lock(conn, campaign_id)
    failed = """
        UPDATE shop.campaign_recipients AS r
           SET state = CASE WHEN m.may_have_come THEN 'unknown' ELSE 'failed' END,
               reason = CASE WHEN m.may_have_come THEN 'it may or may not have arrived'
                             ELSE 'its job died, or was cancelled' END
          FROM (SELECT r.user_id, COALESCE(e.state IN ('sending', 'unknown'), false)
                  FROM shop.campaign_recipients AS r
                  LEFT JOIN workshed_mail.emails AS e ON e.id = r.email_id
                 WHERE r.campaign_id = %(id)s AND r.batch = %(batch)s AND r.state = 'handed'
               ) AS m (user_id, may_have_come)
         WHERE r.campaign_id = %(id)s AND r.user_id = m.user_id
    """
    conn.execute(failed, {"id": campaign_id, "batch": batch})
    query = """
        UPDATE shop.campaigns SET state = 'sent', ended_at = workshed.now()
         WHERE id = %(id)s AND state = 'sending' AND batch IS NULL
           AND NOT EXISTS (
               SELECT FROM shop.campaign_recipients
                WHERE campaign_id = %(id)s AND state IN ('waiting', 'handed'))
    """
    return conn.execute(query, {"id": campaign_id}).rowcount == 1


def prune_campaigns(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete campaigns that ended so long ago, at most `limit` rows; return how many rows.

    Emails and recipients are deleted before the campaign, so that nothing is left without it.
    """
    values = {"older_than": older_than, "limit": limit}
    recipients = """
        WITH gone AS (
            DELETE FROM shop.campaign_recipients
             WHERE ctid = ANY (ARRAY(
                   SELECT r.ctid
                     FROM shop.campaigns AS c
                     JOIN shop.campaign_recipients AS r ON r.campaign_id = c.id
                    WHERE c.ended_at < workshed.now() - %(older_than)s
                    LIMIT %(limit)s
                      FOR UPDATE OF r SKIP LOCKED))
            RETURNING email_id
        ), mails AS (
            DELETE FROM workshed_mail.emails USING gone WHERE emails.id = gone.email_id
        )
        SELECT FROM gone
    """
    deleted = conn.execute(recipients, values).rowcount
    is_empty = "NOT EXISTS (SELECT FROM shop.campaign_recipients WHERE campaign_id = t.id)"
    left = limit - deleted
    return deleted + delete_old_rows(conn, "shop.campaigns", "ended_at", older_than, left, is_empty)


def _insert_chosen(conn: Connection, campaign_id: int, choice: Choice) -> None:
    """Store the chosen recipients, in one statement with the query that chooses them."""
    query = sql.SQL("""
        INSERT INTO shop.campaign_recipients (campaign_id, user_id)
        SELECT DISTINCT {id}::bigint, u.id
          FROM ({choice}) AS chosen (user_id)
          JOIN shop.users AS u ON u.id = chosen.user_id
         WHERE u.unsubscribed_at IS NULL
    """)
    inner = choice.query if isinstance(choice.query, sql.Composable) else sql.SQL(choice.query)
    whole = query.format(id=sql.Literal(campaign_id), choice=inner)
    if not conn.execute(whole, choice.values or None).rowcount:
        raise EmptyAudienceError


def _name_problem(name: str) -> str:
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        return f"it has {len(name)} characters, and not 1 to {MAX_NAME_LENGTH}"
    if any(unicodedata.category(c) in FORBIDDEN_CATEGORIES for c in name):
        return "it holds a control character or a lone surrogate"
    return ""


def _fetch_campaign(conn: Connection, query: LiteralString, campaign_id: int) -> Campaign:
    with conn.cursor(row_factory=class_row(Campaign)) as cur:
        found = cur.execute(query, (campaign_id,)).fetchone()
    if found is None:
        raise RecordMissing("campaign", campaign_id)
    return found
