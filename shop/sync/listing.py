"""Read a source's listing page by page; only records that a whole listing lacks may be deleted.

Each page commits separately, with the cursor of the next, so a run continues where the last ended.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from shop.sync import runs, schemas, skipped_items, sources
from shop.sync.client import request_json
from shop.sync.errors import (
    IncompleteListingError,
    OverlongListingError,
    RepeatedCursorError,
    SourceError,
    WrongAnswerError,
)
from shop.sync.schemas import ListingPage
from shop.sync.sources import FetchPermit
from workshed.db import Connection
from workshed.jobs import Snooze

COPY_RETRY_DELAY = timedelta(seconds=10)
REFETCH_AFTER = timedelta(hours=1)
"""A record that is still outdated is requested again after this time."""
LONGEST_LISTING = timedelta(hours=6)
"""A listing that takes longer starts again, because its cursors may not be valid any more."""


@dataclass(frozen=True, slots=True)
class PageCursor:
    """The page of a listing to read next."""

    permit: FetchPermit
    listing: int
    cursor: str | None
    """`None` for the first page."""
    is_whole: bool
    """Whether the listing was started at the first page."""


@dataclass(frozen=True, slots=True)
class PageResult:
    """The result of a page."""

    ids_to_fetch: list[str]
    """Records to fetch, because they are new, newer, or perhaps deleted."""
    is_last: bool
    problem: SourceError | None = None
    """The error to raise once the page has committed."""
    mail_ids: list[int] = field(default_factory=list)
    """Emails to deliver, which say that the source has recovered."""


def next_page(conn: Connection, source: str, start: str | None) -> PageCursor:
    """Return the next page of the listing that was started at `start`, or of a new one.

    Raises `Snooze` while the source is held, and `RecordMissing`.
    """
    leave = sources.acquire_permit(conn, source)
    query = """
        SELECT listing, cursor, listing_from IS NULL
          FROM shop.sync_sources
         WHERE name = %(name)s AND listing_from IS NOT DISTINCT FROM %(start)s
           AND listing_since > workshed.now() - %(longest)s
    """
    values = {"name": source, "start": start, "longest": LONGEST_LISTING}
    row = conn.execute(query, values).fetchone() or _start_listing(conn, source, start)
    return PageCursor(leave, *row)


def _start_listing(
    conn: Connection, source: str, start: str | None
) -> tuple[int, str | None, bool]:
    query = """
        UPDATE shop.sync_sources
           SET listing = listing + 1, listing_since = workshed.now(), listing_from = %(start)s,
               cursor = %(start)s, listing_total = NULL, listing_named = 0, listing_skipped = 0
         WHERE name = %(name)s
        RETURNING listing
    """
    cur = conn.execute(query, {"name": source, "start": start})
    ((number,),) = cur.fetchall()
    conn.execute("DELETE FROM shop.sync_cursors WHERE source = %s", (source,))
    return number, start, start is None


def fetch_page(now: PageCursor) -> ListingPage:
    """Fetch a page; call it without an open transaction. Raises a `SourceError`."""
    params = {} if now.cursor is None else {"cursor": now.cursor}
    with sources.recording_result(now.permit):
        return schemas.parse_page(
            now.permit.name, request_json(now.permit.name, now.permit.url, "records", **params)
        )


def store_page(conn: Connection, now: PageCursor, page: ListingPage) -> PageResult:
    """Store what a page lists, and advance to the next; after the last page, what is missing.

    Does nothing if a copy of the job has stored the page; raises `Snooze` while that copy goes on
    reading, because it may still die. Raises `RepeatedCursorError` and `OverlongListingError`; the
    caller must then roll the page back.
    """
    query = """
        UPDATE shop.sync_sources
           SET cursor = %(next)s,
               listing_total = CASE WHEN cursor IS NULL THEN %(total)s ELSE listing_total END,
               listing_named = listing_named + %(named)s,
               listing_skipped = listing_skipped + %(skipped)s
         WHERE name = %(name)s AND listing = %(listing)s AND listing_since IS NOT NULL
           AND cursor IS NOT DISTINCT FROM %(cursor)s
    """
    values = {
        "name": now.permit.name,
        "listing": now.listing,
        "cursor": now.cursor,
        "next": page.next,
        "total": page.total,
        "named": len(page.items) + len(page.skipped),
        "skipped": len(page.skipped),
    }
    if not conn.execute(query, values).rowcount:
        _snooze_while_read(conn, now)
        return PageResult([], is_last=True)
    wanted = _record_listed(conn, now, page)
    skipped_items.record_skipped(conn, now.permit.name, now.listing, page.skipped)
    _refuse_overlong(conn, now, page.total)
    if page.next is not None:
        _store_cursor(conn, now.permit.name, page.next)
        return PageResult(wanted, is_last=False)
    if not now.is_whole:
        runs.end_partial_listing(conn, now.permit.name)
        return PageResult(wanted, is_last=True)
    if problem := _incomplete_error(conn, now, page.total) or _all_skipped_error(conn, now, page):
        return PageResult(wanted, is_last=True, problem=problem)
    wanted += _mark_missing(conn, now)
    skipped_items.delete_outdated(conn, now.permit.name, now.listing)
    return PageResult(wanted, is_last=True, mail_ids=runs.record_success(conn, now.permit.name))


def _snooze_while_read(conn: Connection, now: PageCursor) -> None:
    query = """
        SELECT FROM shop.sync_sources
         WHERE name = %s AND listing = %s AND listing_since IS NOT NULL
    """
    if conn.execute(query, (now.permit.name, now.listing)).rowcount:
        raise Snooze(COPY_RETRY_DELAY, f"a copy of this job reads {now.permit.name}")


def _record_listed(conn: Connection, now: PageCursor, page: ListingPage) -> list[str]:
    """Store which records are listed; return those that are new or newer than ours.

    Records that were requested recently are left out, because their job is waiting or retrying.
    """
    query = """
        INSERT INTO shop.sync_records AS r (source, external_id, listed_in, listed_version)
        SELECT %(source)s, id, %(listing)s, max(version)
          FROM unnest(%(ids)s::text[], %(versions)s::bigint[]) AS item (id, version)
         GROUP BY id
         ORDER BY id  -- all lock in one order
            ON CONFLICT (source, external_id)
            DO UPDATE SET listed_in = excluded.listed_in, listed_version = excluded.listed_version,
                          missing_since = NULL
        RETURNING external_id,
                  (version IS NULL OR version < listed_version OR deleted_at IS NOT NULL)
                  AND (asked_version IS DISTINCT FROM listed_version
                       OR asked_at < workshed.now() - %(again)s OR asked_at < deleted_at)
    """
    values = {
        "source": now.permit.name,
        "listing": now.listing,
        "ids": [item.id for item in page.items],
        "versions": [item.version for item in page.items],
        "again": REFETCH_AFTER,
    }
    wanted = [external_id for external_id, is_wanted in conn.execute(query, values) if is_wanted]
    asked = """
        UPDATE shop.sync_records
           SET asked_version = listed_version, asked_at = workshed.now()
         WHERE source = %s AND external_id = ANY (%s)
    """
    conn.execute(asked, (now.permit.name, wanted))
    return wanted


def _store_cursor(conn: Connection, source: str, cursor: str) -> None:
    """Store a cursor; raises `RepeatedCursorError` if this listing had it before."""
    query = """
        INSERT INTO shop.sync_cursors (source, cursor) VALUES (%s, %s) ON CONFLICT DO NOTHING
    """
    if not conn.execute(query, (source, cursor)).rowcount:
        raise RepeatedCursorError(source, f"its listing goes round: {cursor!r} comes again")


def _refuse_overlong(conn: Connection, now: PageCursor, total: int | None) -> None:
    """Raise `OverlongListingError` for more records than the total, at the beginning or now.

    Nothing else would end a listing in which every page has a new cursor. Distinct records are
    counted only if the listing has named too many items, because changes during the listing move
    records to another page, so that they are named twice.
    """
    query = """
        SELECT greatest(%(total)s::bigint, listing_total), listing_named
          FROM shop.sync_sources
         WHERE name = %(source)s
    """
    values = {"source": now.permit.name, "total": total}
    ((said, named),) = conn.execute(query, values).fetchall()
    if said is None or named <= said:
        return
    if (listed := _count_listed(conn, now)) > said:
        raise OverlongListingError(
            now.permit.name, f"its listing has {listed} records so far, and says there are {said}"
        )


def _count_listed(conn: Connection, now: PageCursor) -> int:
    """Count the records that the listing has named so far, and its skipped items."""
    query = """
        SELECT listing_skipped +
               (SELECT count(*) FROM shop.sync_records
                 WHERE source = %(source)s AND listed_in = %(listing)s)
          FROM shop.sync_sources
         WHERE name = %(source)s
    """
    values = {"source": now.permit.name, "listing": now.listing}
    ((count,),) = conn.execute(query, values).fetchall()
    return int(count)


def _incomplete_error(
    conn: Connection, now: PageCursor, total: int | None
) -> IncompleteListingError | None:
    """Return an error if the listing has fewer records than both of its totals."""
    query = """
        SELECT least(%(total)s::bigint, listing_total)
          FROM shop.sync_sources
         WHERE name = %(source)s
    """
    values = {"source": now.permit.name, "total": total}
    ((said,),) = conn.execute(query, values).fetchall()
    listed = _count_listed(conn, now)
    if said is None or listed >= said:
        return None
    return IncompleteListingError(
        now.permit.name, f"its listing has {listed} of the {said} records it says there are"
    )


def _all_skipped_error(
    conn: Connection, now: PageCursor, page: ListingPage
) -> WrongAnswerError | None:
    """Return an error if every item of the listing was skipped: its form is not as agreed.

    No record may be considered deleted because of such a listing.
    """
    query = "SELECT listing_skipped FROM shop.sync_sources WHERE name = %s"
    ((skipped,),) = conn.execute(query, (now.permit.name,)).fetchall()
    if not skipped or _count_listed(conn, now) > skipped:
        return None
    reason = page.skipped[-1].reason if page.skipped else "see `python -m shop sync skipped`"
    return WrongAnswerError(now.permit.name, f"none of its {skipped} items can be read: {reason}")


def _mark_missing(conn: Connection, now: PageCursor) -> list[str]:
    """Mark and return records that a whole listing lacks, unless fetched since it was started.

    The source is then asked for each of them, because a listing may lack an existing record if
    others are added or deleted while it is read.
    """
    values = {"source": now.permit.name, "listing": now.listing}
    never_fetched = """
        DELETE FROM shop.sync_records
         WHERE source = %(source)s AND listed_in < %(listing)s AND version IS NULL
    """
    conn.execute(never_fetched, values)
    missing = """
        UPDATE shop.sync_records AS r
           SET missing_since = workshed.now()
          FROM shop.sync_sources AS s
         WHERE s.name = %(source)s AND r.source = s.name AND r.listed_in < %(listing)s
           AND r.deleted_at IS NULL AND r.fetched_at < s.listing_since
        RETURNING r.external_id
    """
    return [external_id for (external_id,) in conn.execute(missing, values)]
