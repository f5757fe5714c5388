"""Read and write the AMQP frames of a message in one go."""

import itertools
import struct
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, Protocol

import pika
from pika.data import encode_value

from workshed.value_class import state_class

DELIVER: Final = b"\x00\x3c\x00\x3c"
"""The ID of the method, which follows the 7 bytes of a frame's header."""
METHOD, HEADER, BODY, END = 1, 2, 3, 0xCE

FRAME = struct.Struct(">BHI")  # its kind, its channel, the size of what follows
CONTENT = struct.Struct(">BHIHHQH")  # the same of a header frame; class, weight, size, flags
METHOD_START = struct.Struct(">HHH")  # class, method, a field that is reserved
FRAME_END: Final = b"\xce"
BYTE, ULONG = struct.Struct(">B"), struct.Struct(">Q")
INT_VALUE, LONG_VALUE = struct.Struct(">ci"), struct.Struct(">cq")  # with the type before it
TEXT_START = struct.Struct(">cI")  # the type, the size of what follows
UINT, INT, LONG = struct.Struct(">I"), struct.Struct(">i"), struct.Struct(">q")

KIND_INT, KIND_LONG, KIND_STRING, KIND_BOOLEAN = b"IlSt"
"""The types of the values in a table that are read here."""

CONTENT_TYPE, CONTENT_ENCODING, HEADERS = 1 << 15, 1 << 14, 1 << 13
DELIVERY_MODE, PRIORITY, MORE_FLAGS = 1 << 12, 1 << 11, 1

JSON_CONTENT_TYPE = b"\x10application/json"
PERSISTENT = b"\x02"
APP_ID_END = b"\x08workshed" + FRAME_END
TABLE_START = struct.Struct(f">{len(JSON_CONTENT_TYPE)}sI")  # the content type, size of the table
FIXED_BYTES = 14 + TABLE_START.size + len(PERSISTENT) + BYTE.size + ULONG.size + len(APP_ID_END) - 1
"""Of a header frame: class, weight, size, flags, and what has the same size in each message."""
PUBLISH_FLAGS = CONTENT_TYPE | HEADERS | DELIVERY_MODE | 1 << 7 | 1 << 6 | 1 << 5 | 1 << 3
"""Includes the flags of the message's ID, timestamp, type and app ID."""
BASIC, PUBLISH_METHOD, MANDATORY = 60, 40, 1

NeedMoreBytes = Literal["more"]


class HasHeaders(Protocol):
    """The properties of a message, read by this module or by pika."""

    headers: Any
    """A mapping, or nothing."""
    priority: int | None

    @property
    def message_id(self) -> str | None:
        """The ID that its sender gave it."""


class DeliveryProperties:
    """The properties that every delivery needs; pika reads the others on demand."""

    __slots__ = ("_raw", "headers", "priority")

    def __init__(self, headers: dict[str, Any], priority: int | None, raw: bytes) -> None:
        """Keep the bytes, without their frame."""
        self.headers = headers
        self.priority = priority
        self._raw = raw

    @property
    def message_id(self) -> str | None:
        """Return the ID that its sender gave it."""
        found: str | None = pika.BasicProperties().decode(self._raw).message_id
        return found


@state_class
class MessageProperties:
    """The properties of a message to send, which RabbitMQ's management UI shows."""

    message_id: str
    type: str
    timestamp: int
    priority: int | None
    headers: dict[str, Any]


class RawDelivery(NamedTuple):
    """A delivery from RabbitMQ."""

    tag: int
    redelivered: bool
    properties: HasHeaders
    body: bytes
    consumer: bytes = b""
    """The consumer tag."""
    end: int = 0
    """Offset of its end in the bytes it was read from."""


def parse_delivery(data: bytes, at: int) -> RawDelivery | NeedMoreBytes | None:  # noqa: PLR0911 -- each is a reason
    """Read the delivery whose method frame begins at `at`.

    Returns "more" if its end has not arrived yet. Returns `None` if it is not three frames in a
    row, or has a header of a rare type: pika can read those, but takes three times as long.
    """
    size = len(data)
    _, channel, length = FRAME.unpack_from(data, at)
    header_at = at + FRAME.size + length + 1
    if header_at + CONTENT.size > size:
        return "more" if data[header_at : header_at + 1] in (b"", bytes([HEADER])) else None
    kind, other, length, _, _, body_size, flags = CONTENT.unpack_from(data, header_at)
    if kind != HEADER or other != channel or flags & MORE_FLAGS:
        return None
    frame_at = header_at + FRAME.size + length + 1
    body_at = frame_at + FRAME.size
    if body_at > size:
        return "more"
    if FRAME.unpack_from(data, frame_at) != (BODY, channel, body_size):
        return None
    end = body_at + body_size + 1
    if end > size:
        return "more"
    if not data[header_at - 1] == data[frame_at - 1] == data[end - 1] == END:
        return None
    properties = _parse_properties(data, header_at + CONTENT.size, frame_at - 1, flags)
    if properties is None:
        return None
    tag_at = at + FRAME.size + len(DELIVER) + 1
    consumer = data[tag_at : tag_at + data[tag_at - 1]]
    tag_at += len(consumer)
    return RawDelivery(
        int.from_bytes(data[tag_at : tag_at + 8], "big"),
        bool(data[tag_at + 8] & 1),
        properties,
        data[body_at : end - 1],
        consumer,
        end,
    )


def _parse_properties(data: bytes, at: int, end: int, flags: int) -> DeliveryProperties | None:
    raw = data[at - 2 : end]  # with the flags
    for flag in (CONTENT_TYPE, CONTENT_ENCODING):
        if flags & flag:
            at += 1 + data[at]
    headers: dict[str, Any] | None = {}
    if flags & HEADERS:
        (length,) = UINT.unpack_from(data, at)
        headers = _parse_table(data, at + 4, at + 4 + length)
        at += 4 + length
    if headers is None:
        return None
    if flags & DELIVERY_MODE:
        at += 1
    return DeliveryProperties(headers, data[at] if flags & PRIORITY else None, raw)


def _parse_table(data: bytes, at: int, end: int) -> dict[str, Any] | None:
    """Read a table of integers, strings and booleans; `None` if it has other types."""
    found: dict[str, Any] = {}
    while at < end:
        name_end = at + 1 + data[at]
        name = data[at + 1 : name_end].decode(errors="replace")
        kind, at = data[name_end], name_end + 1
        if kind == KIND_INT:
            (found[name],) = INT.unpack_from(data, at)
            at += 4
        elif kind == KIND_LONG:
            (found[name],) = LONG.unpack_from(data, at)
            at += 8
        elif kind == KIND_STRING:
            (length,) = UINT.unpack_from(data, at)
            at += 4 + length
            try:
                found[name] = data[at - length : at].decode()
            except UnicodeDecodeError:
                return None
        elif kind == KIND_BOOLEAN:
            found[name] = bool(data[at])
            at += 1
        else:
            return None
    return found


def encode_publish(
    channel: int, exchange: str, queue: str, stamp: MessageProperties, body: bytes, *, longest: int
) -> bytes:
    """Write a mandatory, persistent message; a body frame has at most `longest` bytes.

    Raises the errors of `str.encode`, `struct` and pika for values that AMQP cannot encode.
    """
    priority, size = stamp.priority, len(body)
    flags = PUBLISH_FLAGS if priority is None else PUBLISH_FLAGS | PRIORITY
    table = b"".join(itertools.starmap(_encode_entry, stamp.headers.items()))
    message_id, kind = stamp.message_id.encode(), _encode_short(stamp.type)
    # What follows the flags: a constant part, and the size of each other part.
    length = FIXED_BYTES + len(table) + len(message_id) + len(kind) + (priority is not None)
    parts = (
        _encode_method(channel, exchange, queue),
        CONTENT.pack(HEADER, channel, length, BASIC, 0, size, flags),
        TABLE_START.pack(JSON_CONTENT_TYPE, len(table)),
        table,
        PERSISTENT if priority is None else PERSISTENT + BYTE.pack(priority),
        BYTE.pack(len(message_id)),
        message_id,
        ULONG.pack(stamp.timestamp),
        kind,
        APP_ID_END,
    )
    if 0 < size <= longest:
        return b"".join((*parts, FRAME.pack(BODY, channel, size), body, FRAME_END))
    pieces = [body[at : at + longest] for at in range(0, size, longest)]
    frames = [FRAME.pack(BODY, channel, len(piece)) + piece + FRAME_END for piece in pieces]
    return b"".join((*parts, *frames))


def _encode_entry(name: str, value: Any) -> bytes:
    """Write integers, strings and `True` as pika would; leave other values to pika."""
    if type(value) is int:
        if -(2**31) <= value < 2**31:
            return _encode_short(name) + INT_VALUE.pack(b"I", value)
        return _encode_short(name) + LONG_VALUE.pack(b"l", value)
    if type(value) is str:
        text = value.encode()
        return _encode_short(name) + TEXT_START.pack(b"S", len(text)) + text
    if value is True:
        return _encode_short(name) + b"t\x01"
    pieces: list[bytes] = []
    encode_value(pieces, value)
    return b"".join((_encode_short(name), *pieces))


@lru_cache(maxsize=1_000)
def _encode_short(text: str) -> bytes:
    encoded = text.encode()
    return BYTE.pack(len(encoded)) + encoded


@lru_cache(maxsize=1_000)
def _encode_method(channel: int, exchange: str, queue: str) -> bytes:
    said = (
        METHOD_START.pack(BASIC, PUBLISH_METHOD, 0) + _encode_short(exchange) + _encode_short(queue)
    )
    return FRAME.pack(METHOD, channel, len(said) + 1) + said + bytes((MANDATORY,)) + FRAME_END
