"""Keep local copies of other systems' records up to date."""

from datetime import timedelta
from typing import Any

from middleware.uniqueness import LATEST_RECORD, ONE_ALERT, ONE_SYNC, source_of
from shop import sync
from shop.settings import settings
from workshed import actor, db, schedule
from workshed.contrib import mail
from workshed.cronspec import every
from workshed.db import Connection
from workshed.jobs import checkpoint
from workshed.middleware import RetryOn
from workshed.middleware.options.backoff import polynomial_wait

backoff = polynomial_wait()


def wait_as_requested(attempt: int, error: BaseException) -> timedelta:
    """Wait as long as the source asks, or else attempt⁴ seconds and up to 30 more."""
    asked = error.delay if isinstance(error, sync.SourceBusyError) else None
    return asked or backoff(attempt, error)


RETRY = RetryOn(sync.SourceError, attempts=10, wait=wait_as_requested)


@actor(
    queue="critical",
    time_limit=timedelta(minutes=1),
    unique=ONE_ALERT,
)
def tell_of_dead_sync(message: dict[str, Any], reason: str) -> None:
    """Notify the admins by mail that a job of a source is dead.

    Idempotent: each mail is stored once.
    On crash: mails and their jobs commit together.
    """
    with db.transaction() as conn:
        send_alerts(conn, sync.record_dead_job(conn, source_of(message), reason))


@actor(
    queue="critical",
    time_limit=timedelta(minutes=4),  # longer than the slowest exchange
    retry_on=RETRY,
    unique=LATEST_RECORD,
    on_dead=tell_of_dead_sync,
)
def sync_record(source: str, external_id: str) -> None:
    """Fetch a record, and write it with its associations and its log line.

    Idempotent: a record that is not newer than ours changes nothing.
    On crash: all of it commits together.
    """
    with db.transaction() as conn:
        leave = sync.acquire_permit(conn, source)
    record = sync.fetch_record(leave, external_id)
    with db.transaction() as conn:
        sync.store_record(conn, leave, external_id, record)


@actor(
    queue="critical",
    time_limit=timedelta(minutes=25),
    retry_on=RETRY,
    unique=ONE_SYNC,
    on_dead=tell_of_dead_sync,
)
def sync_critical_data(source: str, cursor: str | None = None) -> None:
    """Read all of a source page by page, and send a job for each record that is newer than ours.

    Idempotent: a page is stored once, and a second run checks again later.
    On crash: each page commits with its jobs and the next cursor, from which the next run
    continues.
    """
    try:
        while not read_page(source, cursor):
            checkpoint()
    except sync.SourceError as err:
        with db.transaction() as conn:
            send_alerts(conn, sync.record_failure(conn, err))
        raise


@actor(
    queue="critical",
    time_limit=timedelta(minutes=1),
    periodic=every(settings().sync_every, misfire="skip"),
    needs="shop",
)
def start_syncs() -> None:
    """Start a sync of each source.

    Idempotent: a source that is being synced is left alone.
    On crash: the next run starts the rest.
    """
    with db.transaction() as conn:
        for source in sync.list_source_names(conn):
            schedule.send(conn, sync_critical_data.message(source))


def read_page(source: str, start: str | None) -> bool:
    """Read and store the next page, and send the jobs of its records; True after the last page."""
    with db.transaction() as conn:
        turn = sync.next_page(conn, source, start)
    page = sync.fetch_page(turn)
    with db.transaction() as conn:
        landed = sync.store_page(conn, turn, page)
        for external_id in landed.ids_to_fetch:
            schedule.send(conn, sync_record.message(source, external_id))
        send_alerts(conn, landed.mail_ids)
    if landed.problem:
        raise landed.problem
    return landed.is_last


def send_alerts(conn: Connection, mails: list[int]) -> None:
    """Send the jobs of alert mails."""
    for email_id in mails:
        mail.deliver_stored(conn, email_id, priority=mail.ALERT)
