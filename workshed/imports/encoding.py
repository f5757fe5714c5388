"""In which encoding a file is written: all of it is read, or a guess may be wrong at its end."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from io import IncrementalNewlineDecoder
from typing import BinaryIO

from workshed.imports.errors import ImportRefusedError

PIECE_BYTES = 1 << 20
# Those of UTF-32 first: one begins as UTF-16 does.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
MARK = "\ufeff"
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How the files of spreadsheets begin, which are named .csv often enough."""


@dataclass(frozen=True, slots=True)
class _Wrong:
    """A byte that is not of an encoding."""

    byte: int
    line: int
    character: int
    ascii_before: bool


def of(file: BinaryIO) -> str:
    """Return the encoding in which all of a file can be read; its mark is read as U+FEFF.

    UTF-8, UTF-16 with a mark or without, UTF-32 with one, or else cp1252. Raises
    `ImportRefusedError` with the line and the character of what is in none.
    """
    head = file.read(max(map(len, WORKBOOKS)))
    if not head:
        raise ImportRefusedError("the file is empty")
    if head.startswith(WORKBOOKS):
        raise ImportRefusedError("it is a workbook of a spreadsheet; save it as CSV UTF-8")
    guess = next((name for mark, name in MARKS if head.startswith(mark)), None)
    guess = guess or _without_mark(head)
    wrong = _first_wrong(file, guess)
    if wrong and guess == "utf-8" and wrong.ascii_before:
        guess = "cp1252"  # a file of UTF-8 with a damaged letter has whole ones, too
        wrong = _first_wrong(file, guess)
    if wrong:
        raise ImportRefusedError(
            f"the byte 0x{wrong.byte:02x} is no {guess}; save the file as UTF-8",
            line=wrong.line,
            column=f"character {wrong.character}",
        )
    file.seek(0)
    return guess


def _without_mark(head: bytes) -> str:
    """Tell UTF-16 by the NUL beside each letter of a header in English."""
    match [byte == 0 for byte in head]:
        case [False, True, False, True]:
            return "utf-16-le"
        case [True, False, True, False]:
            return "utf-16-be"
    return "utf-8"


def _first_wrong(file: BinaryIO, encoding: str) -> _Wrong | None:
    """Return the first byte that is not of an encoding, if there is one."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = IncrementalNewlineDecoder(decoder, translate=True)
    line, character, is_ascii = 1, 1, True
    try:
        for piece in _pieces(file):
            text = lines.decode(piece, final=not piece).removeprefix(MARK)
            line, character = _after(text, line, character)
            is_ascii = is_ascii and text.isascii()
    except UnicodeDecodeError as err:
        # An end of a line may be held back, as a piece may end in its middle.
        held = "\r" if lines.getstate()[1] & 1 else ""
        text = held + err.object[: err.start].decode(encoding).removeprefix(MARK)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        line, character = _after(text, line, character)
        is_ascii = is_ascii and text.isascii()
        return _Wrong(err.object[err.start], line, character, is_ascii)
    return None


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield all of a file, and at last nothing: then what is incomplete stays so."""
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        yield piece
    yield b""


def _after(text: str, line: int, character: int) -> tuple[int, int]:
    """Return where the reader is after a text."""
    count = text.count("\n")
    last = text.rpartition("\n")[2]
    return line + count, len(last) + (1 if count else character)
