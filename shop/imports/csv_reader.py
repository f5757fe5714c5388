"""Reading the records of a CSV file in bounded memory, each with the line in which it begins."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from shop.imports.csv_error_location import locate_error
from shop.imports.errors import ImportRefusedError
from shop.imports.header import Header, detect_delimiter
from shop.imports.layout import DETECT_ALL, Layout

MAX_ROW_LENGTH = 1 << 20
"""Characters; a longer row cannot be from a table of people, and would fill the memory."""
BYTE_ORDER_MARK = "\ufeff"
MAX_EXTRA_FIELDS = 10
"""How many fields beyond those in the header are kept of a row."""
_SEPARATOR = re.compile(r'sep=([^\r\n"])[\r\n]*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A record after the header."""

    number: int
    """Number of the record, from 1."""
    line: int
    """The line in which it begins, from 1."""
    fields: list[str]
    width: int
    """How many fields it has, including those that are not kept."""
    filled_width: int
    """How many fields there are up to the last one that is not empty."""


class CsvTable:
    """A CSV table; the first line that is not blank is the header."""

    def __init__(self, text: TextIO, layout: Layout = DETECT_ALL) -> None:
        """Read the header of a text opened with `newline=""`. Raises `ImportRefusedError`."""
        self._lines = _RecordLines(text)
        first = self._lines.read_first()
        named = _SEPARATOR.fullmatch(first)  # Excel names the delimiter like this
        if named is None:
            self._lines.unread()
        self.delimiter = named[1] if named else detect_delimiter(first, layout)
        # Many programs write a blank after the comma; a quotation mark may follow that blank.
        self._reader = csv.reader(
            self._lines, delimiter=self.delimiter, skipinitialspace=True, strict=True
        )
        self._known_header: Header | None = None
        line, fields = self._read_record() or (1, [])
        self.header = self._known_header = Header.parse(fields, line, layout)

    def rows(self) -> Iterator[CsvRow]:
        """Yield the records in order. Raises `ImportRefusedError`."""
        number, most = 0, len(self.header.names) + MAX_EXTRA_FIELDS
        while found := self._read_record():
            number += 1
            line, fields = found
            yield CsvRow(number, line, fields[:most], len(fields), _count_filled(fields))

    def _read_record(self) -> tuple[int, list[str]] | None:
        """Read the next record that is not blank; return its line number and its fields."""
        while True:
            self._lines.start_record()
            try:
                fields = next(self._reader, None)
            except csv.Error as err:
                raise self._refusal_error(str(err)) from None
            if fields is None:
                return None
            if any(map(str.strip, fields)):
                return self._lines.first_line, fields

    def _refusal_error(self, said: str) -> ImportRefusedError:
        """Return an error that says where and why a record cannot be read."""
        limit = csv.field_size_limit()
        place = locate_error("".join(self._lines.record), self.delimiter, limit)
        column = (
            self._known_header.column_label(place.index)
            if self._known_header
            else str(place.index + 1)
        )
        if place.is_open:
            reason = "a quotation mark opens here and is not closed"
            reason += f" within {limit} characters" if "limit" in said else ""
        elif "limit" in said:
            reason = f"the field has more than {limit} characters"
        else:
            reason = "a quotation mark is followed by text; write two of them inside a field"
        line = self._lines.first_line + place.lines_before
        return ImportRefusedError(reason, line=line, column=f"column {column}")


def _count_filled(fields: list[str]) -> int:
    """Count fields without the empty ones at the end, which spreadsheets add in large numbers."""
    filled = len(fields)
    while filled and not fields[filled - 1].strip():
        filled -= 1
    return filled


class _RecordLines:
    """The lines of a text with their line breaks; keeps those of the current record."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._read = 0
        self._unread_line: str | None = None
        self._size = 0
        self.record: list[str] = []
        """The lines since `forget`."""

    @property
    def first_line(self) -> int:
        """The number of the record's first line, from 1."""
        return self._read - len(self.record) + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, self._unread_line = self._unread_line or self._text.readline(MAX_ROW_LENGTH), None
        if not line:
            raise StopIteration
        self._read += 1
        self._size += len(line)
        if self._size >= MAX_ROW_LENGTH:
            raise ImportRefusedError(
                f"the row has {MAX_ROW_LENGTH} characters and more; is it a CSV?",
                line=self.first_line - 1,
            )
        line = line.removeprefix(BYTE_ORDER_MARK) if self._read == 1 else line
        self.record.append(line)
        return line

    def read_first(self) -> str:
        """Read up to the first line that is not blank. Raises `ImportRefusedError` without one."""
        for line in self:
            if line.strip():
                return line
        raise ImportRefusedError("the file has nothing but blank lines")

    def unread(self) -> None:
        """Make the next read return the last line again."""
        self._unread_line = self.record.pop()
        self._read -= 1
        self._size -= len(self._unread_line)

    def start_record(self) -> None:
        """Start a new record."""
        self.record.clear()
        self._size = 0
