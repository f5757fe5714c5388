"""In which encoding a file is written: all of it is read, or a guess may be wrong at its end."""

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
# Those of UTF-32 first: one begins as UTF-16 does.
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
"""What a file is read as that is no Unicode and of which nothing says what it is."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """In which encoding a file is read."""

    codec: str
    is_guess: bool
    """Whether nothing but its names can tell if that is right."""

    @property
    def label(self) -> str:
        """Its name, as people know it."""
        return label(self.codec)


@dataclass(frozen=True, slots=True)
class _Wrong:
    """A byte that is not of an encoding."""

    byte: int
    line: int
    character: int
    ascii_before: bool
    around: bytes
    """The cell in which it is, as far as it was read."""


def of(file: BinaryIO, given: str | None = None) -> Encoding:
    """Return the encoding in which all of a file can be read; its mark is read as U+FEFF.

    That which is given, or UTF-8, UTF-16 with a mark or without, UTF-32 with one. Else it is a
    guess: Windows-1252, which is right only where the names are plausible in it. Raises
    `ImportRefusedError` with the line and the character of what is in none.
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
        # A file of UTF-8 with a damaged letter has whole ones, too.
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
    """Return the refusal of a file whose encoding is not known, with hints from one place."""
    hints = hint(raw)
    return ImportRefusedError(
        f"the file is not in UTF-8, and in {label(GUESSED)} it reads "
        f"{raw.decode(GUESSED, 'replace').strip()[:100]!r}, which looks wrong; {REMEDY}"
        f"{': ' if hints else ''}{hints}",
        line=line,
        column=column,
    )


def ambiguous(found: Ambiguity) -> ImportRefusedError:
    """Return the refusal of a file that reads as well in another encoding, with both readings."""
    others = "; ".join(f"{text[:100]!r} in {label(other)}" for other, text in found.others.items())
    return ImportRefusedError(
        "the file is not in UTF-8, and all its names may be of more than one encoding: "
        f"{found.cell.strip()[:100]!r} in {label(GUESSED)}; {others}. Name the one that reads "
        f"right, as in --encoding {label(GUESSED)}, or save the file as UTF-8",
        line=found.line,
        column=found.column,
    )


def _without_mark(head: bytes) -> str:
    """Tell UTF-16 by the NUL beside each letter of a header in English."""
    match [byte == 0 for byte in head[:4]]:
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
        around = _cell(err.object, err.start)
        return _Wrong(err.object[err.start], line, character, is_ascii, around)
    return None


def _cell(piece: bytes, at: int) -> bytes:
    """Return what is between the nearest delimiters."""
    before = _DELIMITERS.split(piece[max(0, at - LONGEST_CELL) : at])[-1]
    return before + _DELIMITERS.split(piece[at : at + LONGEST_CELL])[0]


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
