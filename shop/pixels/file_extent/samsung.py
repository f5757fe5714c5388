"""The trailer that Samsung phones write after nearly every photo.

It has blocks of data (time, camera mode, the film of a motion photo), then a directory: `SEFH`, a
version, the number of blocks, and for each block its distance back from `SEFH` and its length. The
length of the directory and `SEFT` follow. All numbers are little-endian.
"""

import struct

_TAIL = struct.Struct("<I4s")
_HEAD = struct.Struct("<4sII")
_ENTRY = struct.Struct("<HHII")


def find_start(data: bytes) -> int | None:
    """Return where a trailer begins that ends with the file; `None` if there is none."""
    if not data.endswith(b"SEFT"):
        return None
    length, _ = _TAIL.unpack_from(data, len(data) - _TAIL.size)
    directory = len(data) - _TAIL.size - length
    if directory < 0 or length < _HEAD.size:
        return None
    magic, _, count = _HEAD.unpack_from(data, directory)
    if magic != b"SEFH" or length != _HEAD.size + count * _ENTRY.size:
        return None
    entries = _ENTRY.iter_unpack(data[directory + _HEAD.size : len(data) - _TAIL.size])
    longest = max((distance for *_, distance, _ in entries), default=0)
    return int(directory - longest)
