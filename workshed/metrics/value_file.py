"""A file of numbers that one process writes while others read it, as `prometheus_client` has it.

| bytes | contents |
|---|---|
| 0 to 3 | where the used part ends, as an integer of the machine |
| 4 to 7 | zeros |
| then, for each number | the length of its key, the key, one to eight spaces, the number, a time |

A number begins at a multiple of eight bytes, so that it can be replaced in one step: a reader sees
the old number or the new one.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEADER_BYTES = 8
LENGTH = struct.Struct("i")
NUMBERS = struct.Struct("dd")
INITIAL_BYTES = 64 * 1024
"""Room for some 300 numbers."""


class Entry(NamedTuple):
    """A number in a file."""

    key: str
    value: float
    at: float
    """When it was written, as Unix time; 0 if that is not recorded."""


class ValueFile:
    """The numbers of this process, mapped into its memory. Not thread-safe."""

    def __init__(self, path: Path | None) -> None:
        """Open or create a file; `None` keeps the numbers in memory only.

        Raises `OSError` if there is no space. A file without reserved blocks would let the first
        write on a full disk end the process with SIGBUS.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._fd = None if path is None else os.open(path, flags, 0o600)
        self._map = self._make_map(INITIAL_BYTES)
        self._view()
        self._places: dict[str, int] = {}
        at = HEADER_BYTES
        for entry in self.entries():
            at += entry_bytes(entry.key)
            self._places[entry.key] = number_index(at)
        self._end = at

    def entries(self) -> list[Entry]:
        """Return all numbers."""
        return list(parse_entries(self._map[:]))

    def place(self, key: str) -> int:
        """Return the index of a number, which is 0 until it is written; raises `OSError`."""
        found = self._places.get(key)
        return self._append(key) if found is None else found

    def add(self, place: int, amount: float) -> None:
        """Add to a number."""
        self._numbers[place] += amount

    def set(self, place: int, value: float) -> None:
        """Replace a number."""
        self._numbers[place] = value

    def close(self) -> None:
        """Close the file; the numbers stay in it."""
        self._numbers.release()
        self._ends.release()
        self._map.close()
        if self._fd is not None:
            os.close(self._fd)

    def _append(self, key: str) -> int:
        end = self._end + entry_bytes(key)
        if end > len(self._map):
            self._grow(max(end, 2 * len(self._map)))
        self._map[self._end : end] = encode_entry(key, 0.0)
        self._ends[0] = end  # last, so that a reader sees no half of an entry
        self._end = end
        self._places[key] = number_index(end)
        return self._places[key]

    def _grow(self, size: int) -> None:
        larger = self._make_map(size)
        if self._fd is None:
            larger[: len(self._map)] = self._map[:]
        self._numbers.release()
        self._ends.release()
        self._map.close()
        self._map = larger
        self._view()

    def _view(self) -> None:
        # Assigning an item of a view is one store; `struct.pack_into` would write zeros first.
        self._numbers = memoryview(self._map).cast("d")
        self._ends = memoryview(self._map).cast("i")

    def _make_map(self, size: int) -> mmap.mmap:
        if self._fd is None:
            return mmap.mmap(-1, size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._fd, 0, size)
        size = max(size, os.fstat(self._fd).st_size)
        os.ftruncate(self._fd, size)
        return mmap.mmap(self._fd, size)


def parse_entries(data: bytes) -> Iterator[Entry]:
    """Yield the numbers of a file; none if its process has only just created it."""
    end = min(LENGTH.unpack_from(data)[0], len(data)) if len(data) >= HEADER_BYTES else 0
    at = HEADER_BYTES
    while at < end:
        (length,) = LENGTH.unpack_from(data, at)
        start = at + LENGTH.size
        key = data[start : start + length]
        at = start + padded_bytes(length) + NUMBERS.size
        yield Entry(key.decode(), *NUMBERS.unpack_from(data, at - NUMBERS.size))


def encode_entries(entries: Iterator[tuple[str, float]]) -> bytes:
    """Return the contents of a file with these numbers."""
    body = b"".join(encode_entry(key, value) for key, value in entries)
    return LENGTH.pack(HEADER_BYTES + len(body)).ljust(HEADER_BYTES, b"\0") + body


def encode_entry(key: str, value: float) -> bytes:
    """Return a number as it is in a file."""
    encoded = key.encode()
    padded = encoded.ljust(padded_bytes(len(encoded)))
    return LENGTH.pack(len(encoded)) + padded + NUMBERS.pack(value, 0.0)


def entry_bytes(key: str) -> int:
    """Return how many bytes a number takes."""
    return LENGTH.size + padded_bytes(len(key.encode())) + NUMBERS.size


def padded_bytes(length: int) -> int:
    """Return the length of a key with its spaces."""
    return length + 8 - (LENGTH.size + length) % 8


def number_index(end: int) -> int:
    """Return the index, in doubles, of the number whose entry ends here."""
    return (end - NUMBERS.size) // 8
