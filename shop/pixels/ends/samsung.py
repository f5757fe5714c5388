"""What Samsung's phones write behind nearly every photo.

Blocks of data (time, camera mode, the film of a motion photo), then `SEFH`, a version, the number
of blocks, where each begins as a distance back from `SEFH`, and how long it is; then the length of
that directory and `SEFT`. All numbers are little-endian.
"""

import struct

_TAIL = struct.Struct("<I4s")
_HEAD = struct.Struct("<4sII")
_ENTRY = struct.Struct("<HHII")


def begin(data: bytes) -> int | None:
    """Return where such a trailer begins that reaches up to the end of the file."""
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
