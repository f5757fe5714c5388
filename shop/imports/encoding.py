"""Detection of a file's encoding; the whole file is read, because a guess may fail at its end."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import IncrementalNewlineDecoder
from typing import BinaryIO

from shop.imports.alternative_encodings import Ambiguity
from shop.imports.encoding_hints import format_hint
from shop.imports.errors import ImportRefusedError
from shop.imports.formats import HEAD_BYTES, find_format_problem
from shop.imports.layout import display_name, find_codec

PIECE_BYTES = 1 << 20
# UTF-32 comes first, because one of its marks begins like a mark of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
BYTE_ORDER_MARK = "\ufeff"
MAX_CELL_BYTES = 100
REMEDY = "save the file as UTF-8, or name its encoding (--encoding)"
_DELIMITERS = re.compile(rb"[\r\n,;\t]")
FALLBACK_CODEC = "cp1252"
"""The encoding assumed for a file that is not Unicode, if nothing says what it is."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding in which a file is read."""

    codec: str
    is_guess: bool
    """Whether only the names in the file can show if it is right."""

    @property
    def label(self) -> str:
        """Its common name."""
        return display_name(self.codec)


@dataclass(frozen=True, slots=True)
class _InvalidByte:
    """A byte that is invalid in an encoding."""

    byte: int
    line: int
    character: int
    is_ascii_before: bool
    cell: bytes
    """The cell that has it, as far as it was read."""


def detect_encoding(file: BinaryIO, given: str | None = None) -> Encoding:
    """Return the encoding in which the whole file can be read; a mark is read as U+FEFF.

    This is the given encoding, or else UTF-8, UTF-16 with or without a mark, or UTF-32 with a mark.
    Otherwise it is a guess, Windows-1252, which is only right if the names are plausible in it.
    Raises `ImportRefusedError` with the line and character that cannot be decoded.
    """
    head = file.read(HEAD_BYTES)
    if not head:
        raise ImportRefusedError("the file is empty")
    if reason := find_format_problem(head):
        raise ImportRefusedError(reason)
    marked = next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), None)
    said = None if given is None else find_codec(given)
    if said and marked and not said.replace("_", "-").startswith(marked[: len("utf-8")]):
        raise ImportRefusedError(
            f"it begins with the mark of {marked}, so it is not in {given}; name no encoding"
        )
    chosen = said or marked or _detect_unmarked(head)
    wrong = _find_invalid_byte(file, chosen)
    if wrong and said is None and chosen == "utf-8" and wrong.is_ascii_before:
        # A damaged UTF-8 file would have intact non-ASCII letters before the first invalid byte.
        if undefined := _find_invalid_byte(file, FALLBACK_CODEC):
            raise unknown_encoding_error(
                undefined.cell, undefined.line, f"character {undefined.character}"
            )
        file.seek(0)
        return Encoding(FALLBACK_CODEC, is_guess=True)
    if wrong:
        raise ImportRefusedError(
            f"the byte 0x{wrong.byte:02x} is not valid in {display_name(chosen)}; {REMEDY}",
            line=wrong.line,
            column=f"character {wrong.character}",
        )
    file.seek(0)
    return Encoding(chosen, is_guess=False)


def unknown_encoding_error(raw: bytes, line: int, column: str) -> ImportRefusedError:
    """Return the error for a file whose encoding is unknown, with hints from one cell."""
    hints = format_hint(raw)
    return ImportRefusedError(
        f"the file is not in UTF-8, and in {display_name(FALLBACK_CODEC)} it reads "
        f"{raw.decode(FALLBACK_CODEC, 'replace').strip()[:100]!r}, which looks wrong; {REMEDY}"
        f"{': ' if hints else ''}{hints}",
        line=line,
        column=column,
    )


def ambiguous_encoding_error(found: Ambiguity) -> ImportRefusedError:
    """Return the error for a file that is plausible in several encodings, with all readings."""
    others = "; ".join(
        f"{text[:100]!r} in {display_name(other)}" for other, text in found.other_readings.items()
    )
    return ImportRefusedError(
        "the file is not in UTF-8, and all its names may be of more than one encoding: "
        f"{found.cell.strip()[:100]!r} in {display_name(FALLBACK_CODEC)}; {others}. Name the one "
        "that reads "
        f"right, as in --encoding {display_name(FALLBACK_CODEC)}, or save the file as UTF-8",
        line=found.line,
        column=found.column,
    )


def _detect_unmarked(head: bytes) -> str:
    """Detect UTF-16 by the NUL next to each letter of an ASCII header; otherwise assume UTF-8."""
    match [byte == 0 for byte in head[:4]]:
        case [False, True, False, True]:
            return "utf-16-le"
        case [True, False, True, False]:
            return "utf-16-be"
    return "utf-8"


def _find_invalid_byte(file: BinaryIO, encoding: str) -> _InvalidByte | None:
    """Return the first byte that is invalid in an encoding, if there is one."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = IncrementalNewlineDecoder(decoder, translate=True)
    line, character, is_ascii = 1, 1, True
    try:
        for piece in _read_pieces(file):
            text = lines.decode(piece, final=not piece).removeprefix(BYTE_ORDER_MARK)
            line, character = _position_after(text, line, character)
            is_ascii = is_ascii and text.isascii()
    except UnicodeDecodeError as err:
        # The decoder may hold back a "\r", because a piece may end in the middle of "\r\n".
        held = "\r" if lines.getstate()[1] & 1 else ""
        text = held + err.object[: err.start].decode(encoding).removeprefix(BYTE_ORDER_MARK)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        line, character = _position_after(text, line, character)
        is_ascii = is_ascii and text.isascii()
        around = _cell_around(err.object, err.start)
        return _InvalidByte(err.object[err.start], line, character, is_ascii, around)
    return None


def _cell_around(piece: bytes, at: int) -> bytes:
    """Return the text between the nearest delimiters."""
    before = _DELIMITERS.split(piece[max(0, at - MAX_CELL_BYTES) : at])[-1]
    return before + _DELIMITERS.split(piece[at : at + MAX_CELL_BYTES])[0]


def _read_pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield all of a file, then an empty piece, which ends the decoding."""
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        yield piece
    yield b""


def _position_after(text: str, line: int, character: int) -> tuple[int, int]:
    """Return the line and character that follow a text."""
    count = text.count("\n")
    last = text.rpartition("\n")[2]
    return line + count, len(last) + (1 if count else character)
