"""Create users from the rows of a file."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from actors.people import send_welcome_email
from shop import imports
from shop.imports import Import, Layout, RowRange, RowResults
from shop.settings import settings
from workshed import actor, db, schedule
from workshed.contrib import mail
from workshed.contrib.storage.blobs import Blob
from workshed.db import Connection

JOBS_PER_TRANSACTION = 500
"""Jobs that are sent in one transaction."""
MIN_RESENT_ROWS = 1_000
"""When rows are sent again, each job gets at least so many."""
A_DAY = timedelta(days=1)
FIRST_CHECK_DELAY, LONGEST_CHECK_DELAY = timedelta(minutes=1), timedelta(hours=1)


@actor(queue="imports", time_limit=timedelta(minutes=1))
def fail_import(message: dict[str, Any], reason: str) -> None:
    """End an import whose file could not be read, and notify its owner by mail.

    Idempotent: a second run finds the import ended.
    On crash: state and mail commit together.
    """
    (import_id,) = message["args"] or message["kwargs"].values()
    with db.transaction() as conn:
        end_import(conn, import_id, f"its job died: {reason}")


@actor(queue="imports", time_limit=timedelta(minutes=2))
def end_import_rows(message: dict[str, Any], reason: str) -> None:
    """Mark the rows of a dead job as failed, with its reason.

    Idempotent: a second run finds none of the rows open.
    On crash: rows and counters commit together.
    """
    part = RowRange(*message["args"], **message["kwargs"])
    with db.transaction() as conn:
        ended = imports.fail_rows(conn, part, "died", f"its job died: {reason}")
        imports.count_results(conn, part.import_id, ended)


@actor(
    queue="imports",
    time_limit=timedelta(minutes=15),
    discard_on=imports.ImportRefusedError,
    on_dead=fail_import,
)
def import_users(import_id: int) -> None:
    """Read a whole file, and send the jobs that create users from its rows.

    Idempotent: each row is stored once, and each job is sent once.
    On crash: what was stored and sent stays, and the next run continues after it. A file that
    cannot be read creates no user at all.
    """
    try:
        imports.read_file(import_id)
    except imports.ImportRefusedError as refusal:
        with db.transaction() as conn:
            end_import(conn, import_id, refusal.reason)
        raise
    while send_next_ranges(import_id):
        pass


@actor(queue="imports", time_limit=timedelta(minutes=10), on_dead=end_import_rows)
def import_user_rows(import_id: int, first: int, count: int) -> None:
    """Create users from `count` rows, starting at `first`; the last rows complete the import.

    Idempotent: rows that have ended are skipped, and counted once.
    On crash: users, rows, welcome jobs and counters commit together.
    """
    with db.transaction() as conn:
        found = imports.get_import(conn, import_id)
        ended = imports.create_users(conn, RowRange(import_id, first, count))
        if found.welcome:
            send_welcomes(conn, ended)
        imports.count_results(conn, import_id, ended)


@actor(queue="low", time_limit=timedelta(minutes=2))
def check_import_completion(import_id: int, looks: int = 0, steps: int = 0) -> None:
    """Check an import at growing intervals until it is over.

    If nothing has happened since the last check, the remaining rows are sent again, because their
    jobs were lost, for example with a purged queue. So this job uses another queue.

    Idempotent: rows that have ended stay as they are.
    On crash: the jobs that are sent again and the next check commit together.
    """
    with db.transaction() as conn:
        found = imports.get_import(conn, import_id)
        if not found.is_over:
            if found.progress_count == steps:
                resend_ranges(conn, found)
            schedule_check(conn, import_id, looks + 1, found.progress_count)


def start_import(
    conn: Connection,
    owner_id: int,
    filename: str,
    blob: Blob,
    *,
    layout: Layout = imports.DETECT_ALL,
    welcome: bool = False,
    again: bool = False,
) -> int:
    """Store an import of a file and send its job, in the caller's transaction; return its id.

    `layout` gives the encoding of the file and the columns to read, if the file itself does not.
    With `welcome`, each imported user is sent the welcome mail. Raises `AlreadyImportedError`,
    except with `again`, and `RecordMissing` if the owner does not exist.
    """
    import_id = imports.create(
        conn, owner_id, filename, blob.sha256, layout=layout, welcome=welcome, again=again
    )
    schedule.send(conn, import_users.message(import_id))
    schedule_check(conn, import_id, 0, 0)
    return import_id


def send_next_ranges(import_id: int) -> int:
    """Send the next jobs of an import; return how many."""
    with db.transaction() as conn:
        parts = imports.next_ranges(conn, import_id, settings().import_chunk, JOBS_PER_TRANSACTION)
        send_ranges(conn, parts)
    return len(parts)


def resend_ranges(conn: Connection, found: Import) -> None:
    """Send the jobs again that an import is waiting for."""
    if found.total is None or found.queued_upto < found.total:
        schedule.send(conn, import_users.message(found.id))
    size = max(settings().import_chunk, MIN_RESENT_ROWS)
    send_ranges(conn, imports.list_open_ranges(conn, found, size, JOBS_PER_TRANSACTION))


def send_ranges(conn: Connection, parts: Iterable[RowRange]) -> None:
    """Send one job per row range."""
    for part in parts:
        schedule.send(conn, import_user_rows.message(part.import_id, part.first, part.count))


def schedule_check(conn: Connection, import_id: int, looks: int, steps: int) -> None:
    """Send the next check of an import."""
    message = check_import_completion.message(import_id, looks, steps)
    schedule.send(
        conn, message, delay=min(FIRST_CHECK_DELAY * 2 ** min(looks, 10), LONGEST_CHECK_DELAY)
    )


def recheck_stalled_imports() -> None:
    """Check imports again that are not over after a day, because their check may be lost."""
    with db.transaction() as conn:
        for import_id in imports.list_stalled(conn, A_DAY):
            schedule_check(conn, import_id, 0, 0)


def send_welcomes(conn: Connection, ended: RowResults) -> None:
    """Send the welcome jobs of the new users."""
    for user_id in ended.user_ids:
        schedule.send(conn, send_welcome_email.message(user_id))


def end_import(conn: Connection, import_id: int, error: str) -> None:
    """End an import that failed, and send the mail about it."""
    draft = imports.fail_import(conn, import_id, error)
    if draft is not None:
        mail.deliver_later(conn, draft)
