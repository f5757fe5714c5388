"""Console pages for imports: progress and failed rows."""

import io
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

from shop import imports, people
from shop.imports import Import
from shop.people import User
from workshed.console.errors import NotFoundError
from workshed.console.web.view.page import ROWS, Action, Download, Downloaded, Page, PageRequest
from workshed.jobs import RecordMissing

SHOWN = 100
"""Failed rows on the page; the CSV has all of them."""
IN_MEMORY_BYTES = 1 << 20
CHUNK_BYTES = 1 << 16


def look(ask: PageRequest) -> Mapping[str, Any]:
    """Show the newest imports."""
    found = imports.every(ask.conn, ROWS + 1, before=ask.number("before"))
    older = found[ROWS - 1].id if len(found) > ROWS else None
    owners = people.find_each(ask.conn, [one.owner_id for one in found[:ROWS]])
    return {"imports": [_as_data(one, owners) for one in found[:ROWS]], "older": older}


def look_at_one(ask: PageRequest) -> Mapping[str, Any]:
    """Show one import, and why rows of it failed."""
    found = _known(ask)
    has_failed = found.failed > 0  # otherwise all rows would be read to find none
    return {
        "import": _as_data(found, people.find_each(ask.conn, [found.owner_id])),
        "problems": imports.problems(ask.conn, found.id) if has_failed else [],
        "failures": imports.first_failures(ask.conn, found.id, SHOWN) if has_failed else [],
    }


def failures(ask: PageRequest) -> Downloaded:
    """Send the failed rows as CSV, which can be corrected and imported."""
    found = _known(ask)
    # On disk, because there may be a million, and a slow client would keep the transaction open.
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 -- closed when it is sent
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")  # spreadsheets detect UTF-8 by its mark
    imports.write_failures(ask.conn, found.id, text)
    text.flush()
    text.detach()
    return Downloaded("text/csv", f"import-{found.id}-failed-rows.csv", _read(file))


def _known(ask: PageRequest) -> Import:
    import_id = ask.number("id") or 0
    try:
        return imports.find(ask.conn, import_id)
    except RecordMissing:
        raise NotFoundError(
            f"There is no import {import_id}. One is deleted some time after it has ended."
        ) from None


def _as_data(found: Import, owners: Mapping[int, User]) -> dict[str, Any]:
    owner = owners.get(found.owner_id)
    parts = ("id", "filename", "welcome", "state", "error", "created_at", "ended_at")
    read = ("encoding", "is_guess", "name_column", "email_column", "skipped")
    return {part: getattr(found, part) for part in (*parts, *read)} | {
        "owner": {"id": found.owner_id, "email": owner.email if owner else None},
        "rows": {
            "read": found.rows_read,
            "total": found.total,
            "ended": found.succeeded + found.failed,
            "succeeded": found.succeeded,
            "failed": found.failed,
        },
    }


def _read(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


PAGES: tuple[Page, ...] = (
    Page(
        "/imports",
        "Imports",
        "shop.web.pages:imports.html",
        look,
        group="Product",
        is_live=True,
        needs="shop",
    ),
    Page(
        "/import",
        "Import",
        "shop.web.pages:import.html",
        look_at_one,
        is_live=True,
        needs="shop",
    ),
)
ACTIONS: tuple[Action, ...] = ()
DOWNLOADS: tuple[Download, ...] = (Download("/import/failed-rows.csv", failures, needs="shop"),)
