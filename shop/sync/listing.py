"""Read all that a source has, page by page; only what a whole listing lacks may be gone.

Each page commits by itself, with the cursor of the next: a run goes on where the last one stopped.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from shop.sync import answers, runs, skipping, sources
from shop.sync.answers import ListingPage
from shop.sync.client import ask
from shop.sync.errors import (
    IncompleteListingError,
    OverlongListingError,
    RepeatedCursorError,
    SourceError,
    WrongAnswerError,
)
from shop.sync.sources import FetchPermit
from workshed.db import Connection
from workshed.jobs import Snooze

COPY_LOOKS_AGAIN = timedelta(seconds=10)
ASKED_AGAIN = timedelta(hours=1)
"""A record is asked for again after this, where it is still behind."""
LONGEST_LISTING = timedelta(hours=6)
"""One that was begun longer ago begins again: its cursors mean nothing any more."""


@dataclass(frozen=True, slots=True)
class PageCursor:
    """The page of a listing that is read next."""

    leave: FetchPermit
    listing: int
    cursor: str | None
    """`None`: the first."""
    whole: bool
    """It was begun with the first."""


@dataclass(frozen=True, slots=True)
class PageResult:
    """What follows from a page."""

    wanted: list[str]
    """Records of which there is more than we have, or perhaps nothing any more."""
    ended: bool
    problem: SourceError | None = None
    """What is to be raised once the page has committed."""
    mails: list[int] = field(default_factory=list)
    """Of somebody who is told that the source has recovered."""


def turn(conn: Connection, source: str, start: str | None) -> PageCursor:
    """Return what is read next: of the listing that was begun at `start`, or of a new one.

    Raises `Snooze` while the source is held, and `RecordMissing`.
    """
    leave = sources.admit(conn, source)
    query = """
        SELECT listing, cursor, listing_from IS NULL
          FROM shop.sync_sources
         WHERE name = %(name)s AND listing_from IS NOT DISTINCT FROM %(start)s
           AND listing_since > workshed.now() - %(longest)s
    """
    values = {"name": source, "start": start, "longest": LONGEST_LISTING}
    row = conn.execute(query, values).fetchone() or _begin(conn, source, start)
    return PageCursor(leave, *row)


def _begin(conn: Connection, source: str, start: str | None) -> tuple[int, str | None, bool]:
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


def read(now: PageCursor) -> ListingPage:
    """Fetch a page; call it with no transaction open. Raises a `SourceError`."""
    params = {} if now.cursor is None else {"cursor": now.cursor}
    with sources.asking(now.leave):
        return answers.page(now.leave.name, ask(now.leave.name, now.leave.url, "records", **params))


def land(conn: Connection, now: PageCursor, page: ListingPage) -> PageResult:
    """Note what a page names, and go on to the next; after the last, what is missing.

    Where a copy of the job has stored it nothing is done: raises `Snooze` while that one reads on,
    since it may yet die. Raises `RepeatedCursorError` and `OverlongListingError`: nothing of the
    page is to be kept then.
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
        "name": now.leave.name,
        "listing": now.listing,
        "cursor": now.cursor,
        "next": page.next,
        "total": page.total,
        "named": len(page.items) + len(page.skipped),
        "skipped": len(page.skipped),
    }
    if not conn.execute(query, values).rowcount:
        _snooze_while_read(conn, now)
        return PageResult([], ended=True)
    wanted = _note(conn, now, page)
    skipping.note(conn, now.leave.name, now.listing, page.skipped)
    _refuse_overlong(conn, now, page.total)
    if page.next is not None:
        _pass(conn, now.leave.name, page.next)
        return PageResult(wanted, ended=False)
    if not now.whole:
        runs.ended(conn, now.leave.name)
        return PageResult(wanted, ended=True)
    if problem := _incomplete(conn, now, page.total) or _without_good(conn, now, page):
        return PageResult(wanted, ended=True, problem=problem)
    wanted += _missing(conn, now)
    skipping.forget(conn, now.leave.name, now.listing)
    return PageResult(wanted, ended=True, mails=runs.succeeded(conn, now.leave.name))


def _snooze_while_read(conn: Connection, now: PageCursor) -> None:
    query = """
        SELECT FROM shop.sync_sources
         WHERE name = %s AND listing = %s AND listing_since IS NOT NULL
    """
    if conn.execute(query, (now.leave.name, now.listing)).rowcount:
        raise Snooze(COPY_LOOKS_AGAIN, f"a copy of this job reads {now.leave.name}")


def _note(conn: Connection, now: PageCursor, page: ListingPage) -> list[str]:
    """Note which records there are; return those of which there is more than we have.

    Not what was asked for lately: its job waits, or tries again.
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
        "source": now.leave.name,
        "listing": now.listing,
        "ids": [item.id for item in page.items],
        "versions": [item.version for item in page.items],
        "again": ASKED_AGAIN,
    }
    wanted = [external_id for external_id, is_wanted in conn.execute(query, values) if is_wanted]
    asked = """
        UPDATE shop.sync_records
           SET asked_version = listed_version, asked_at = workshed.now()
         WHERE source = %s AND external_id = ANY (%s)
    """
    conn.execute(asked, (now.leave.name, wanted))
    return wanted


def _pass(conn: Connection, source: str, cursor: str) -> None:
    """Note a cursor; raises `RepeatedCursorError` for one that was there before."""
    query = """
        INSERT INTO shop.sync_cursors (source, cursor) VALUES (%s, %s) ON CONFLICT DO NOTHING
    """
    if not conn.execute(query, (source, cursor)).rowcount:
        raise RepeatedCursorError(source, f"its listing goes round: {cursor!r} comes again")


def _refuse_overlong(conn: Connection, now: PageCursor, total: int | None) -> None:
    """Raise `OverlongListingError` for more than a source said it has, at the beginning or now.

    Each page has a cursor of its own, so that nothing else would end it. It is counted only where
    it may be so: what comes and goes meanwhile moves records from one page to the next.
    """
    query = """
        SELECT greatest(%(total)s::bigint, listing_total), listing_named
          FROM shop.sync_sources
         WHERE name = %(source)s
    """
    values = {"source": now.leave.name, "total": total}
    ((said, named),) = conn.execute(query, values).fetchall()
    if said is None or named <= said:
        return
    if (listed := _listed(conn, now)) > said:
        raise OverlongListingError(
            now.leave.name, f"its listing has {listed} records so far, and says there are {said}"
        )


def _listed(conn: Connection, now: PageCursor) -> int:
    """Count what the listing has named so far, with what was skipped of it."""
    query = """
        SELECT listing_skipped +
               (SELECT count(*) FROM shop.sync_records
                 WHERE source = %(source)s AND listed_in = %(listing)s)
          FROM shop.sync_sources
         WHERE name = %(source)s
    """
    values = {"source": now.leave.name, "listing": now.listing}
    ((count,),) = conn.execute(query, values).fetchall()
    return int(count)


def _incomplete(
    conn: Connection, now: PageCursor, total: int | None
) -> IncompleteListingError | None:
    """Tell a listing that lacks what was there all the time: by neither of its ends so many."""
    query = """
        SELECT least(%(total)s::bigint, listing_total)
          FROM shop.sync_sources
         WHERE name = %(source)s
    """
    values = {"source": now.leave.name, "total": total}
    ((said,),) = conn.execute(query, values).fetchall()
    listed = _listed(conn, now)
    if said is None or listed >= said:
        return None
    return IncompleteListingError(
        now.leave.name, f"its listing has {listed} of the {said} records it says there are"
    )


def _without_good(conn: Connection, now: PageCursor, page: ListingPage) -> WrongAnswerError | None:
    """Tell a listing of which nothing could be read: that is another form than was agreed.

    Nothing may be taken for gone by it.
    """
    query = "SELECT listing_skipped FROM shop.sync_sources WHERE name = %s"
    ((skipped,),) = conn.execute(query, (now.leave.name,)).fetchall()
    if not skipped or _listed(conn, now) > skipped:
        return None
    reason = page.skipped[-1].reason if page.skipped else "see `python -m shop sync skipped`"
    return WrongAnswerError(now.leave.name, f"none of its {skipped} items can be read: {reason}")


def _missing(conn: Connection, now: PageCursor) -> list[str]:
    """Note what a whole listing lacks, but what was fetched since it was begun; return that.

    The source is asked for each: a listing of what comes and goes meanwhile may lack what is there.
    """
    values = {"source": now.leave.name, "listing": now.listing}
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
