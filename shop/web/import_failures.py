"""Download of an import's failed rows, for its owner."""

import tempfile
from contextlib import ExitStack, suppress
from functools import partial
from io import TextIOWrapper
from typing import BinaryIO

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shop import imports
from shop.web import responses
from shop.web.token_auth import authenticate
from workshed import db
from workshed.console.web.view.safe_headers import NO_STORE
from workshed.jobs import RecordMissing

PIECE_BYTES = 1 << 16
MAX_DIGITS = 18


async def download_failures(request: Request) -> Response:
    """Send the failed rows as CSV, which can be corrected in a spreadsheet and imported."""
    user_id, number = authenticate(request).user_id, request.path_params["number"]
    is_known = number.isascii() and number.isdecimal() and len(number) <= MAX_DIGITS
    file = await run_in_threadpool(_write_to_file, user_id, int(number)) if is_known else None
    if file is None:
        return responses.respond_notice(
            request, 404, "There is no such import.", "It may be deleted."
        )
    return StreamingResponse(
        iter(partial(file.read, PIECE_BYTES), b""),
        headers={
            **NO_STORE,
            "Content-Disposition": f'attachment; filename="import-{number}-failures.csv"',
        },
        media_type="text/csv; charset=utf-8",
        background=BackgroundTask(file.close),
    )


def _write_to_file(user_id: int, import_id: int) -> BinaryIO | None:
    """Write all rows before the first is sent, so that an error does not look like a short list."""
    with ExitStack() as stack:
        file: BinaryIO = stack.enter_context(tempfile.TemporaryFile())
        with suppress(RecordMissing), db.transaction() as conn:
            if imports.get_import(conn, import_id).owner_id == user_id:
                text = TextIOWrapper(file, "utf-8-sig", newline="")
                imports.write_failures(conn, import_id, text)
                text.detach().seek(0)
                stack.pop_all()
                return file
    return None
