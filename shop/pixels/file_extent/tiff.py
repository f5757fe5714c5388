"""The pages of a TIFF, a chain of directories; it has no defined end, as data may be anywhere."""

import struct

from shop.pixels.errors import RefusedError
from shop.pixels.file_extent.extent import Extent, truncated_error

_BIG = 43


def find_extent(data: bytes) -> Extent:
    """Return the length of the file, and the number of pages."""
    order = "<" if data.startswith(b"II") else ">"
    try:
        return Extent(len(data), _count_pages(data, order))
    except struct.error:
        raise truncated_error(len(data), "a directory of a TIFF") from None


def _count_pages(data: bytes, order: str) -> int:
    big = struct.unpack_from(f"{order}H", data, 2)[0] == _BIG
    count, entry_bytes, pointer = ("Q", 20, "Q") if big else ("H", 12, "L")
    at = struct.unpack_from(f"{order}{pointer}", data, 8 if big else 4)[0]
    seen: set[int] = set()
    while at:
        if at in seen:
            raise RefusedError(
                f"it cannot be decoded: page {len(seen)} leads back to an earlier one"
            )
        seen.add(at)
        if at >= len(data):
            raise truncated_error(len(data), f"the directory of page {len(seen)}")
        entries = struct.unpack_from(f"{order}{count}", data, at)[0]
        at += struct.calcsize(f"{order}{count}") + entries * entry_bytes
        if at >= len(data):
            raise truncated_error(len(data), f"the directory of page {len(seen)}")
        at = struct.unpack_from(f"{order}{pointer}", data, at)[0]
    return len(seen)
