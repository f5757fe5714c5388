"""Serve contents from the storage."""

import os
from contextlib import ExitStack
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from workshed.contrib.storage import storage

CHUNK_BYTES = 1 << 16
HEADERS = {
    # The name is a hash of the bytes, so the content never changes.
    "Cache-Control": "private, max-age=31536000, immutable",
    # If a browser takes it for a document, it can do nothing.
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class ContentResponse(Response):
    """A content, read while it is sent; raises `ContentMissingError` before sending anything."""

    def __init__(self, sha256: str, media_type: str) -> None:
        """Prepare the response; the content is opened when it is sent."""
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
