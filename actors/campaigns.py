"""Send campaigns: bulk mails, which are delivered after mails to one person."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from shop import campaigns, people
from shop.campaigns import ResendState, SkippedRecipient
from shop.people import unsubscribe_links
from shop.settings import settings
from workshed import Batch, actor, db, schedule
from workshed.contrib import mail
from workshed.contrib.mail import addresses, servers
from workshed.db import Connection
from workshed.jobs import Discard, Snooze
from workshed.middleware import Limit
from workshed.transport.batch import BatchError
from workshed.transport.publishing.outgoing import Message

logger = logging.getLogger(__name__)

A_MINUTE = timedelta(minutes=1)
RATE = settings().campaign_rate
RATE_LIMIT = (
    # After a pause, send at most one second's worth at once.
    Limit.bucket(RATE, per=A_MINUTE, burst=max(1, RATE // 60), name="bulk mail") if RATE else ()
)


@actor(queue="bulk", time_limit=timedelta(minutes=10))
def send_bulk_email(campaign_id: int, after: int | None = None) -> None:
    """Begin a campaign, or send the jobs of the next recipients behind `after`, then itself again.

    Idempotent: a second run finds that the campaign has begun, or is past these recipients.
    On crash: the progress, the recipients' jobs and the next job commit together.
    """
    if after is None:
        begin_campaign(campaign_id)
    else:
        send_recipient_jobs(campaign_id, after)


@actor(
    queue="emails",
    time_limit=mail.TIME_LIMIT,
    retry_on=mail.FOR_TWO_DAYS,
    discard_on=(mail.RecipientRejectedError, mail.MailRefusedError, mail.MailDeliveryUnknownError),
    limit=RATE_LIMIT,
)
def send_campaign_email(campaign_id: int, user_id: int) -> None:
    """Send one recipient the mail of a campaign, unless it is paused or they have unsubscribed.

    Idempotent: a second run finds the mail sent, and does nothing.
    On crash: the mail may have arrived, so once its claim ends it is held and counted, and not sent
    again. A shutdown before the final dot releases the claim instead.
    """
    try:
        with db.transaction() as conn:
            email = campaigns.claim_email(conn, campaign_id, user_id)
        if isinstance(email, SkippedRecipient):
            raise Discard(email.reason)
        mail.deliver(email, unsubscribe=unsubscribe_links.build_link_from_text)
    except mail.MailServerAway as away:
        if away.is_held:
            pause_for_outage(campaign_id, user_id, away)
        raise
    except mail.MailError as err:
        with db.transaction() as conn:
            rest = campaigns.record_error(conn, campaign_id, user_id, err)
            if rest is not None:
                schedule.send(conn, go_on_with_campaign.message(campaign_id), delay=rest)
        if rest is not None:
            raise Discard(f"campaign {campaign_id} is paused: {err}") from err
        raise
    with db.transaction() as conn:
        campaigns.mark_delivered(conn, campaign_id, email)


@actor(queue="bulk", time_limit=timedelta(minutes=10))
def end_campaign_batch(campaign_id: int) -> None:
    """Record that a batch's jobs have ended; the campaign ends with its last waiting recipient.

    Idempotent: a second run changes nothing.
    On crash: runs in one transaction, so a retry starts clean.
    """
    with db.transaction() as conn:
        if campaigns.complete_batch(conn, campaign_id, Batch.current().id):
            of = campaigns.get_progress(conn, campaign_id)
            level = logging.WARNING if of.undelivered else logging.INFO
            logger.log(level, "campaign %d has ended: %s", campaign_id, of.summary)


@actor(queue="bulk", time_limit=timedelta(minutes=1))
def go_on_with_campaign(campaign_id: int) -> None:
    """Resume a campaign that paused because no mail could be sent.

    Idempotent: a second run finds that the campaign has resumed.
    On crash: the new state and the next job commit together.
    """
    with db.transaction() as conn:
        left = campaigns.remaining_pause(conn, campaign_id)
        trouble = servers.get_hold(conn)
        if left is None:
            raise Discard(f"campaign {campaign_id} is no longer paused, or not by itself")
        if left <= timedelta() and trouble is None:
            resume_campaign(conn, campaign_id, by_itself=True)
            return
        if trouble is not None:
            left = max(left, trouble[0])
            campaigns.extend_pause(conn, campaign_id, trouble[1], left)
    raise Snooze(left, f"campaign {campaign_id} stays paused for longer")


def start_campaign(conn: Connection, campaign_id: int, *, at: datetime | None = None) -> None:
    """Send a draft's first job, which takes the audience, in the caller's transaction.

    `at`, with a time zone: when it begins. Raises `CampaignStateError`, and what `campaigns.check`
    raises; roll back then.
    """
    campaigns.check_templates(campaigns.start(conn, campaign_id, at))
    schedule.send(conn, send_bulk_email.message(campaign_id), at=at)


def send_test_email(conn: Connection, campaign_id: int, address: str) -> int:
    """Send the mail of a campaign to an address that is not a recipient; return the mail's id.

    Runs in the caller's transaction. Raises `RecordMissing`, `InvalidAddressError`, and what
    `campaigns.check` raises.
    """
    found = campaigns.get_campaign(conn, campaign_id)
    campaigns.check_templates(found)
    known = addresses.normalize_address(address)
    user = people.find_by_address(conn, known)
    return mail.deliver_later(
        conn, campaigns.draft_test_email(found, known, user, datetime.now(UTC))
    )


def resume_campaign(
    conn: Connection,
    campaign_id: int,
    again: Sequence[ResendState] = (),
    *,
    by_itself: bool = False,
) -> None:
    """Resume a paused campaign, or send it again to recipients in some states.

    Raises `CampaignStateError`.
    """
    batch = create_batch(campaign_id)
    found = campaigns.resume(conn, campaign_id, batch.id, again, by_itself=by_itself)
    if found.batch == batch.id:
        batch.open(conn)
    if found.state == "starting":
        schedule.send(conn, send_bulk_email.message(campaign_id), at=found.starts_at)
    else:
        schedule.send(conn, send_bulk_email.message(campaign_id, found.cursor))


def cancel_campaign(conn: Connection, campaign_id: int) -> None:
    """Stop a campaign permanently; raises `CampaignStateError`."""
    for batch in campaigns.cancel(conn, campaign_id):
        Batch.with_id(batch).cancel(conn)


def pause_for_outage(campaign_id: int, user_id: int, away: mail.MailServerAway) -> None:
    """Pause a campaign until its mail server can be tried; raises `Discard` if it pauses."""
    with db.transaction() as conn:
        pauses, waits = campaigns.pause_with_recipient(
            conn, campaign_id, user_id, away.problem, away.delay
        )
        if pauses:
            schedule.send(conn, go_on_with_campaign.message(campaign_id), delay=away.delay)
    if waits:
        raise Discard(f"campaign {campaign_id} is paused: {away.problem}") from away


def begin_campaign(campaign_id: int) -> None:
    """Check its templates, take its audience, and send the first job for its recipients."""
    with db.transaction() as conn:
        found = campaigns.get_campaign(conn, campaign_id)
    try:
        campaigns.check_templates(found)
    except campaigns.TemplateError as err:
        with db.transaction() as conn:
            campaigns.refuse(conn, campaign_id, str(err))
        raise
    batch = create_batch(campaign_id)
    with db.transaction() as conn:
        if not campaigns.snapshot_audience(conn, campaign_id, batch.id):
            raise Discard(f"campaign {campaign_id} has already begun")
        batch.open(conn)
        schedule.send(conn, send_bulk_email.message(campaign_id, 0))


def send_recipient_jobs(campaign_id: int, after: int) -> None:
    """Send the jobs of the next recipients and then itself again; the last run closes the batch."""
    try:
        with db.transaction() as conn:
            handed = campaigns.next_recipients(conn, campaign_id, after, settings().campaign_batch)
            if handed is None:
                raise Discard(f"campaign {campaign_id} is past user {after}, or not being sent")
            batch = Batch.with_id(handed.batch)
            batch.add(
                conn, *(recipient_message(campaign_id, user_id) for user_id in handed.user_ids)
            )
            if handed.is_last:
                batch.close(conn)
            else:
                following = send_bulk_email.message(campaign_id, handed.user_ids[-1])
                schedule.send(conn, following, delay=delay_after_batch(len(handed.user_ids)))
    except BatchError as err:  # the batch was cancelled
        with db.transaction() as conn:
            campaigns.detach_cancelled_batch(conn, campaign_id, err.batch, str(err))
        raise Discard(str(err)) from err


def recipient_message(campaign_id: int, user_id: int) -> Message:
    """Return the job of one recipient, whose priority is below that of mails to one person."""
    args = (campaign_id, user_id)
    return send_campaign_email.message_with_options(args=args, broker_priority=mail.BULK)


def delay_after_batch(mails: int) -> timedelta:
    """Return how long to wait before the next recipients, whose jobs would only fill the queue."""
    per_mail = A_MINUTE / RATE if RATE else timedelta()
    return max(settings().campaign_pause, mails * per_mail)


def create_batch(campaign_id: int) -> Batch:
    """Return a batch for mails of a campaign, which is not open yet."""
    ended = end_campaign_batch.message(campaign_id)
    return Batch(on_complete=ended, description=f"campaign {campaign_id}")
