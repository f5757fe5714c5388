"""Transparent reading of files that are compressed with gzip."""

import gzip
import zlib
from collections.abc import Callable
from typing import BinaryIO

from shop.imports.errors import ImportRefusedError

GZIP_MARK = b"\x1f\x8b"
MAX_BYTES = 2 << 30
"""Largest uncompressed size; a file of a thousandth of it can expand to more."""


def open_decompressed(file: BinaryIO) -> BinaryIO:
    """Return a file that reads the uncompressed content of a gzip file, or the file itself.

    Reading it raises `ImportRefusedError` if the compressed data is damaged or too large.
    """
    head = file.read(len(GZIP_MARK))
    file.seek(0)
    return _GzipReader(fileobj=file, mode="rb") if head == GZIP_MARK else file  # type: ignore[return-value]  # it reads like one


class _GzipReader(gzip.GzipFile):
    """Reads all members of a file, for example from `cat a.gz b.gz`."""

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes, fewer only at the end."""
        return self._read_checked(lambda: super(_GzipReader, self).read(size))

    def read1(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, as far as they are available."""
        return self._read_checked(lambda: super(_GzipReader, self).read1(size))

    def _read_checked(self, read: Callable[[], bytes]) -> bytes:
        try:
            piece = read()
        except (EOFError, gzip.BadGzipFile, zlib.error) as err:
            raise ImportRefusedError(f"its gzip data are damaged: {err}") from None
        if self.tell() > MAX_BYTES:
            raise ImportRefusedError(f"it has more than {MAX_BYTES} bytes once it is unpacked")
        return piece
