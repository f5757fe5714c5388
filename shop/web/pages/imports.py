"""Console pages for imports: progress and failed rows."""

import io
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

from shop import imports, people
from shop.imports import Import
from shop.people import User
from workshed.console.errors import NotFoundError
from workshed.console.web.view.page import (
    ROWS,
    Action,
    Download,
    DownloadContent,
    Page,
    PageRequest,
)
from workshed.jobs import RecordMissing

MAX_SHOWN = 100
"""Failed rows on the page; the CSV has all of them."""
IN_MEMORY_BYTES = 1 << 20
CHUNK_BYTES = 1 << 16


def load_list(ask: PageRequest) -> Mapping[str, Any]:
    """Show the newest imports."""
    found = imports.list_imports(ask.conn, ROWS + 1, before=ask.number("before"))
    older = found[ROWS - 1].id if len(found) > ROWS else None
    owners = people.find_users(ask.conn, [one.owner_id for one in found[:ROWS]])
    return {"imports": [_as_data(one, owners) for one in found[:ROWS]], "older": older}


def load_detail(ask: PageRequest) -> Mapping[str, Any]:
    """Show one import, and why rows of it failed."""
    found = _requested_import(ask)
    has_failed = found.failed > 0  # otherwise all rows would be read to find none
    return {
        "import": _as_data(found, people.find_users(ask.conn, [found.owner_id])),
        "problems": imports.list_problems(ask.conn, found.id) if has_failed else [],
        "failures": imports.list_failures(ask.conn, found.id, MAX_SHOWN) if has_failed else [],
    }


def download_failures(ask: PageRequest) -> DownloadContent:
    """Send the failed rows as CSV, which can be corrected and imported."""
    found = _requested_import(ask)
    # On disk, because there may be a million, and a slow client would keep the transaction open.
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 -- closed when it is sent
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")  # spreadsheets detect UTF-8 by its mark
    imports.write_failures(ask.conn, found.id, text)
    text.flush()
    text.detach()
    return DownloadContent("text/csv", f"import-{found.id}-failed-rows.csv", _read_chunks(file))


def _requested_import(ask: PageRequest) -> Import:
    import_id = ask.number("id") or 0
    try:
        return imports.get_import(ask.conn, import_id)
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


def _read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


PAGES: tuple[Page, ...] = (
    Page(
        "/imports",
        "Imports",
        "shop.web.pages:imports.html",
        load_list,
        group="Product",
        is_live=True,
        required_schema="shop",
    ),
    Page(
        "/import",
        "Import",
        "shop.web.pages:import.html",
        load_detail,
        is_live=True,
        required_schema="shop",
    ),
)
ACTIONS: tuple[Action, ...] = ()
DOWNLOADS: tuple[Download, ...] = (
    Download("/import/failed-rows.csv", download_failures, required_schema="shop"),
)
