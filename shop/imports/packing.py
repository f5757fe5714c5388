"""A file that was packed with gzip, read as if it was not."""

import gzip
import zlib
from collections.abc import Callable
from typing import BinaryIO

from shop.imports.errors import ImportRefusedError

MARK = b"\x1f\x8b"
MOST_BYTES = 2 << 30
"""Unpacked; a thousandth of that can be packed so that it gives more."""


def unpacked(file: BinaryIO) -> BinaryIO:
    """Return a file's content: what gzip has packed in it, or else itself, at its beginning.

    Reading it raises `ImportRefusedError` where what is packed is damaged, or too large.
    """
    head = file.read(len(MARK))
    file.seek(0)
    return _Unpacked(fileobj=file, mode="rb") if head == MARK else file  # type: ignore[return-value]  # it reads like one


class _Unpacked(gzip.GzipFile):
    """Of several members, as `cat a.gz b.gz` makes them, all are read."""

    def read(self, size: int | None = -1) -> bytes:
        """Read so many bytes, or fewer at the end."""
        return self._checked(lambda: super(_Unpacked, self).read(size))

    def read1(self, size: int = -1) -> bytes:
        """Read what is there, at most so many bytes."""
        return self._checked(lambda: super(_Unpacked, self).read1(size))

    def _checked(self, read: Callable[[], bytes]) -> bytes:
        try:
            piece = read()
        except (EOFError, gzip.BadGzipFile, zlib.error) as err:
            raise ImportRefusedError(f"what gzip has packed is damaged: {err}") from None
        if self.tell() > MOST_BYTES:
            raise ImportRefusedError(f"it has more than {MOST_BYTES} bytes once it is unpacked")
        return piece
