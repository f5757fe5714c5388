"""Detection of a file's encoding; the whole file is read, because a guess may fail at its end."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import IncrementalNewlineDecoder
from typing import BinaryIO

from shop.imports.errors import ImportRefusedError
from shop.imports.formats import HEAD_BYTES, trouble
from shop.imports.layout import codec, label
from shop.imports.readings import hint
from shop.imports.rivals import Ambiguity

PIECE_BYTES = 1 << 20
# UTF-32 comes first, because one of its marks begins like a mark of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
MARK = "\ufeff"
LONGEST_CELL = 100
REMEDY = "save the file as UTF-8, or name its encoding (--encoding)"
_DELIMITERS = re.compile(rb"[\r\n,;\t]")
GUESSED = "cp1252"
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
        return label(self.codec)


@dataclass(frozen=True, slots=True)
class _Wrong:
    """A byte that is invalid in an encoding."""

    byte: int
    line: int
    character: int
    ascii_before: bool
    around: bytes
    """The cell that has it, as far as it was read."""


def of(file: BinaryIO, given: str | None = None) -> Encoding:
    """Return the encoding in which the whole file can be read; a mark is read as U+FEFF.

    This is the given encoding, or else UTF-8, UTF-16 with or without a mark, or UTF-32 with a mark.
    Otherwise it is a guess, Windows-1252, which is only right if the names are plausible in it.
    Raises `ImportRefusedError` with the line and character that cannot be decoded.
    """
    head = file.read(HEAD_BYTES)
    if not head:
        raise ImportRefusedError("the file is empty")
    if reason := trouble(head):
        raise ImportRefusedError(reason)
    marked = next((name for mark, name in MARKS if head.startswith(mark)), None)
    said = None if given is None else codec(given)
    if said and marked and not said.replace("_", "-").startswith(marked[: len("utf-8")]):
        raise ImportRefusedError(
            f"it begins with the mark of {marked}, so it is not in {given}; name no encoding"
        )
    chosen = said or marked or _without_mark(head)
    wrong = _first_wrong(file, chosen)
    if wrong and said is None and chosen == "utf-8" and wrong.ascii_before:
        # A damaged UTF-8 file would have intact non-ASCII letters before the first invalid byte.
        if undefined := _first_wrong(file, GUESSED):
            raise unknown(undefined.around, undefined.line, f"character {undefined.character}")
        file.seek(0)
        return Encoding(GUESSED, is_guess=True)
    if wrong:
        raise ImportRefusedError(
            f"the byte 0x{wrong.byte:02x} is no {label(chosen)}; {REMEDY}",
            line=wrong.line,
            column=f"character {wrong.character}",
        )
    file.seek(0)
    return Encoding(chosen, is_guess=False)


def unknown(raw: bytes, line: int, column: str) -> ImportRefusedError:
    """Return the error for a file whose encoding is unknown, with hints from one cell."""
    hints = hint(raw)
    return ImportRefusedError(
        f"the file is not in UTF-8, and in {label(GUESSED)} it reads "
        f"{raw.decode(GUESSED, 'replace').strip()[:100]!r}, which looks wrong; {REMEDY}"
        f"{': ' if hints else ''}{hints}",
        line=line,
        column=column,
    )


def ambiguous(found: Ambiguity) -> ImportRefusedError:
    """Return the error for a file that is plausible in several encodings, with all readings."""
    others = "; ".join(f"{text[:100]!r} in {label(other)}" for other, text in found.others.items())
    return ImportRefusedError(
        "the file is not in UTF-8, and all its names may be of more than one encoding: "
        f"{found.cell.strip()[:100]!r} in {label(GUESSED)}; {others}. Name the one that reads "
        f"right, as in --encoding {label(GUESSED)}, or save the file as UTF-8",
        line=found.line,
        column=found.column,
    )


def _without_mark(head: bytes) -> str:
    """Detect UTF-16 by the NUL next to each letter of an ASCII header; otherwise assume UTF-8."""
    match [byte == 0 for byte in head[:4]]:
        case [False, True, False, True]:
            return "utf-16-le"
        case [True, False, True, False]:
            return "utf-16-be"
    return "utf-8"


def _first_wrong(file: BinaryIO, encoding: str) -> _Wrong | None:
    """Return the first byte that is invalid in an encoding, if there is one."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = IncrementalNewlineDecoder(decoder, translate=True)
    line, character, is_ascii = 1, 1, True
    try:
        for piece in _pieces(file):
            text = lines.decode(piece, final=not piece).removeprefix(MARK)
            line, character = _after(text, line, character)
            is_ascii = is_ascii and text.isascii()
    except UnicodeDecodeError as err:
        # The decoder may hold back a "\r", because a piece may end in the middle of "\r\n".
        held = "\r" if lines.getstate()[1] & 1 else ""
        text = held + err.object[: err.start].decode(encoding).removeprefix(MARK)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        line, character = _after(text, line, character)
        is_ascii = is_ascii and text.isascii()
        around = _cell(err.object, err.start)
        return _Wrong(err.object[err.start], line, character, is_ascii, around)
    return None


def _cell(piece: bytes, at: int) -> bytes:
    """Return the text between the nearest delimiters."""
    before = _DELIMITERS.split(piece[max(0, at - LONGEST_CELL) : at])[-1]
    return before + _DELIMITERS.split(piece[at : at + LONGEST_CELL])[0]


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield all of a file, then an empty piece, which ends the decoding."""
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        yield piece
    yield b""


def _after(text: str, line: int, character: int) -> tuple[int, int]:
    """Return the line and character that follow a text."""
    count = text.count("\n")
    last = text.rpartition("\n")[2]
    return line + count, len(last) + (1 if count else character)
