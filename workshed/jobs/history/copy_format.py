"""A run in PostgreSQL's binary COPY format, encoded fast because there is one for each run."""

import struct
from functools import lru_cache

COLUMNS = """message_id, generation, attempt, queue, actor, outcome, reason, error_class, error,
             traceback, sent_at, published_at, started_at, ended_at, queue_wait_s, duration_s,
             retry_in_s, worker, parent, origin, trace, tags, release, arguments"""
"""The columns of a row, in this order."""

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"

_COUNT = struct.pack(">h", 24)
_LENGTH = struct.Struct(">i")
_START = struct.Struct(">hi")  # the number of columns, and the length of the first
_TWO_NUMBERS = struct.Struct(">iiii")  # each after its length, 4
_TIME, _SECONDS = struct.Struct(">iq"), struct.Struct(">id")  # after its length, 8
_ALL_TIMES = struct.Struct(">iqiqiqiqidid")
_NULL = b"\xff\xff\xff\xff"
_EMPTY = bytes(4)
_NO_ERROR = _EMPTY + 3 * _NULL  # no reason, no error
_TEXT_OID = 25
_NO_TAGS = struct.pack(">iiii", 12, 0, 0, _TEXT_OID)
_EPOCH_S = 946_684_800
"""Seconds from the Unix epoch to PostgreSQL's, 2000-01-01."""


def encode_row(  # noqa: PLR0913 -- a row has this many columns
    *,
    message_id: str,
    generation: int,
    attempt: int,
    queue: str,
    actor: str,
    outcome: str,
    sent: float,
    published: float | None,
    started: float | None,
    ended: float,
    queue_wait_s: float | None,
    duration_s: float | None,
    worker: str,
    origin: str,
    release: str,
    reason: str = "",
    error_class: str | None = None,
    error: str | None = None,
    traceback: str | None = None,
    retry_in_s: float | None = None,
    parent: str | None = None,
    trace: str | None = None,
    tags: list[str] | None = None,
    arguments: bytes | None = None,
) -> bytes:
    """Encode a row; times are Unix seconds, by the clocks of its sender and worker.

    `arguments` is the text of a JSON object without NUL characters. Raises `UnicodeEncodeError`
    for a text that is not valid Unicode, and `struct.error` for a number out of range.
    """
    said = (
        _NO_ERROR
        if not reason and error_class is error is traceback is None
        else _text(reason) + _text(error_class) + _text(error) + _text(traceback)
    )
    return b"".join(
        (
            _COUNT,
            _text(message_id),
            _TWO_NUMBERS.pack(4, generation, 4, attempt),
            _cached_texts(queue, actor, outcome),
            said,
            _times(sent, published, started, ended, queue_wait_s, duration_s),
            _seconds(retry_in_s),
            _cached_text(worker),
            _NULL if parent is None else _text(parent),
            _cached_text(origin),
            _NULL if trace is None else _text(trace),
            _text_array(tags) if tags else _NO_TAGS,
            _cached_text(release),
            _bytes(arguments),
        )
    )


class SuccessEncoder:
    """Encodes the runs of an actor's plain jobs that succeeded, which have most columns in common.

    A plain job is delivered for the first time and has no options: it is in its first generation
    and attempt, and has no parent, trace or tags.
    """

    def __init__(self, *, queue: str, actor: str, worker: str, release: str) -> None:
        """Encode the columns that all of these rows share."""
        self._after_id = b"".join(
            (
                _TWO_NUMBERS.pack(4, 0, 4, 1),
                *(_text(value) for value in (queue, actor, "succeeded")),
                _NO_ERROR,
            )
        )
        self._after_times = b"".join(
            (
                _NULL,
                _text(worker),
                _NULL,
                _text("send"),
                _NULL,
                _NO_TAGS,
                _text(release),
            )
        )

    def encode(
        self,
        message_id: str,
        *,
        sent: float,
        published: float,
        started: float,
        ended: float,
        queue_wait_s: float,
        duration_s: float,
        arguments: bytes | None,
    ) -> bytes:
        """Encode a row, with what `encode_row` takes."""
        name = message_id.encode()
        return b"".join(
            (
                _START.pack(24, len(name)),
                name,
                self._after_id,
                _times(sent, published, started, ended, queue_wait_s, duration_s),
                self._after_times,
                _bytes(arguments),
            )
        )


def message_id_of(written: bytes) -> str:
    """Return the ID of the message that a row is about."""
    at = len(_COUNT) + _LENGTH.size
    (length,) = _LENGTH.unpack_from(written, len(_COUNT))
    return written[at : at + length].decode()


def _text(value: str | None) -> bytes:
    return _bytes(None if value is None else value.encode())


def _bytes(value: bytes | None) -> bytes:
    return _NULL if value is None else _LENGTH.pack(len(value)) + value


_cached_text = lru_cache(maxsize=1_000)(_text)
"""For texts that repeat often."""


@lru_cache(maxsize=1_000)
def _cached_texts(*values: str) -> bytes:
    """Encode columns in a row whose texts repeat together."""
    return b"".join([_text(value) for value in values])


def _times(
    sent: float,
    published: float | None,
    started: float | None,
    ended: float,
    queue_wait_s: float | None,
    duration_s: float | None,
) -> bytes:
    if published is None or started is None or queue_wait_s is None or duration_s is None:
        times = [_time(at) for at in (sent, published, started, ended)]
        return b"".join((*times, _seconds(queue_wait_s), _seconds(duration_s)))
    return _ALL_TIMES.pack(
        8,
        _to_microseconds(sent),
        8,
        _to_microseconds(published),
        8,
        _to_microseconds(started),
        8,
        _to_microseconds(ended),
        8,
        queue_wait_s,
        8,
        duration_s,
    )


def _to_microseconds(at: float) -> int:
    return round((at - _EPOCH_S) * 1e6)


def _time(at: float | None) -> bytes:
    return _NULL if at is None else _TIME.pack(8, _to_microseconds(at))


def _seconds(value: float | None) -> bytes:
    return _NULL if value is None else _SECONDS.pack(8, value)


def _text_array(values: list[str]) -> bytes:
    """Encode a one-dimensional array whose index begins at 1."""
    items = b"".join([_text(value) for value in values])
    head = struct.pack(">iiiii", 1, 0, _TEXT_OID, len(values), 1)
    return _LENGTH.pack(len(head) + len(items)) + head + items
