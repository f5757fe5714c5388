"""Serve what the storage keeps."""

import os
from contextlib import ExitStack
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from workshed.contrib.storage import storage

CHUNK_BYTES = 1 << 16
HEADERS = {
    # Its name is that of these very bytes, and of no others.
    "Cache-Control": "private, max-age=31536000, immutable",
    # Were it a document, it could do nothing.
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class ContentResponse(Response):
    """A content, read while it is sent; raises `ContentMissingError` before anything is."""

    def __init__(self, sha256: str, media_type: str) -> None:
        """Open nothing yet."""
        super().__init__(media_type=media_type)
        self._sha256 = sha256

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with ExitStack() as stack:
            file = await run_in_threadpool(stack.enter_context, storage().open(self._sha256))
            size_bytes = os.fstat(file.fileno()).st_size
            response = StreamingResponse(
                iter(partial(file.read, CHUNK_BYTES), b""),
                headers={**HEADERS, "Content-Length": str(size_bytes)},
                media_type=self.media_type,
            )
            await response(scope, receive, send)
