"""Store what a browser uploads, but only if it arrives completely."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO
from urllib.parse import unquote

from psycopg.errors import ForeignKeyViolation
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from shop.settings import settings
from workshed import db
from workshed.contrib.notifications import TokenError
from workshed.contrib.storage import blobs, storage
from workshed.contrib.storage.blobs import Blob
from workshed.db import Connection

Attach = Callable[[Connection, int, str, Blob], int]
"""Stores a user's attachment with this name and content, and sends its job; returns its id."""

# Characters that the table `shop.attachments` refuses.
_IN_NO_FILENAME = re.compile(r"[\x00-\x1f\x7f-\x9f/\u2028\u2029]")
_LONGEST_FILENAME = 255


async def store_upload(request: Request, user_id: int, attach: Attach) -> int:
    """Store the body of a request as an attachment of the user; return its id.

    Raises `HTTPException` or `TokenError`; then nothing is attached.
    """
    filename, most_bytes = _filename(request), settings().image_max_bytes
    if int(request.headers.get("content-length", "0")) > most_bytes:
        raise _too_large(most_bytes)
    with ExitStack() as stack:  # exited in the loop's thread, even if the request is cancelled
        draft = await run_in_threadpool(stack.enter_context, storage().draft())
        await _receive(request, draft, most_bytes)
        return await run_in_threadpool(_store, user_id, filename, draft, attach)


async def _receive(request: Request, draft: BinaryIO, most_bytes: int) -> None:
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > most_bytes:
            raise _too_large(most_bytes)
        await run_in_threadpool(draft.write, chunk)
    if not size_bytes:
        raise HTTPException(400, "The file is empty.")


def _store(user_id: int, filename: str, draft: BinaryIO, attach: Attach) -> int:
    blob = blobs.keep(draft)
    try:
        with db.transaction() as conn:
            return attach(conn, user_id, filename, blob)
    except ForeignKeyViolation:
        raise TokenError("belongs to a deleted user") from None


def _filename(request: Request) -> str:
    try:
        name = unquote(request.headers.get("x-filename", ""), errors="strict")
    except UnicodeDecodeError:
        name = ""
    if not 1 <= len(name) <= _LONGEST_FILENAME or _IN_NO_FILENAME.search(name):
        raise HTTPException(
            400,
            "X-Filename must name the file: percent-encoded UTF-8, at most "
            f"{_LONGEST_FILENAME} characters, without folders and control characters.",
        )
    return name


def _too_large(most_bytes: int) -> HTTPException:
    return HTTPException(413, f"The file is too large: at most {format_mb(most_bytes)} are taken.")


def format_mb(size_bytes: int) -> str:
    """Format a size for people: `30 MB`."""
    return f"{size_bytes / 1e6:.3g} MB"
