"""Reading the records of a CSV file in bounded memory, each with the line in which it begins."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from shop.imports.errors import ImportRefusedError
from shop.imports.header import Header, delimiter_of
from shop.imports.layout import AS_FOUND, Layout
from shop.imports.quotes import where

LONGEST_ROW = 1 << 20
"""Characters; a longer row cannot be from a table of people, and would fill the memory."""
MARK = "\ufeff"
MORE_FIELDS = 10
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
    filled: int
    """How many fields there are up to the last one that is not empty."""


class CsvTable:
    """A CSV table; the first line that is not blank is the header."""

    def __init__(self, text: TextIO, layout: Layout = AS_FOUND) -> None:
        """Read the header of a text opened with `newline=""`. Raises `ImportRefusedError`."""
        self._lines = _Lines(text)
        first = self._lines.first()
        named = _SEPARATOR.fullmatch(first)  # Excel names the delimiter like this
        if named is None:
            self._lines.go_back()
        self.delimiter = named[1] if named else delimiter_of(first, layout)
        # Many programs write a blank after the comma; a quotation mark may follow that blank.
        self._reader = csv.reader(
            self._lines, delimiter=self.delimiter, skipinitialspace=True, strict=True
        )
        self._named: Header | None = None
        line, fields = self._record() or (1, [])
        self.header = self._named = Header.of(fields, line, layout)

    def rows(self) -> Iterator[CsvRow]:
        """Yield the records in order. Raises `ImportRefusedError`."""
        number, most = 0, len(self.header.names) + MORE_FIELDS
        while found := self._record():
            number += 1
            line, fields = found
            yield CsvRow(number, line, fields[:most], len(fields), _filled(fields))

    def _record(self) -> tuple[int, list[str]] | None:
        """Read the next record that is not blank; return its line number and its fields."""
        while True:
            self._lines.forget()
            try:
                fields = next(self._reader, None)
            except csv.Error as err:
                raise self._refusal(str(err)) from None
            if fields is None:
                return None
            if any(map(str.strip, fields)):
                return self._lines.begin, fields

    def _refusal(self, said: str) -> ImportRefusedError:
        """Return an error that says where and why a record cannot be read."""
        limit = csv.field_size_limit()
        place = where("".join(self._lines.record), self.delimiter, limit)
        column = self._named.column(place.index) if self._named else str(place.index + 1)
        if place.is_open:
            reason = "a quotation mark opens here and is not closed"
            reason += f" within {limit} characters" if "limit" in said else ""
        elif "limit" in said:
            reason = f"the field has more than {limit} characters"
        else:
            reason = "a quotation mark is followed by text; write two of them inside a field"
        line = self._lines.begin + place.lines_before
        return ImportRefusedError(reason, line=line, column=f"column {column}")


def _filled(fields: list[str]) -> int:
    """Count fields without the empty ones at the end, which spreadsheets add in large numbers."""
    filled = len(fields)
    while filled and not fields[filled - 1].strip():
        filled -= 1
    return filled


class _Lines:
    """The lines of a text with their line breaks; keeps those of the current record."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._read = 0
        self._back: str | None = None
        self._size = 0
        self.record: list[str] = []
        """The lines since `forget`."""

    @property
    def begin(self) -> int:
        """The number of the record's first line, from 1."""
        return self._read - len(self.record) + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, self._back = self._back or self._text.readline(LONGEST_ROW), None
        if not line:
            raise StopIteration
        self._read += 1
        self._size += len(line)
        if self._size >= LONGEST_ROW:
            raise ImportRefusedError(
                f"the row has {LONGEST_ROW} characters and more; is it a CSV?", line=self.begin - 1
            )
        line = line.removeprefix(MARK) if self._read == 1 else line
        self.record.append(line)
        return line

    def first(self) -> str:
        """Read up to the first line that is not blank. Raises `ImportRefusedError` without one."""
        for line in self:
            if line.strip():
                return line
        raise ImportRefusedError("the file has nothing but blank lines")

    def go_back(self) -> None:
        """Make the next read return the last line again."""
        self._back = self.record.pop()
        self._read -= 1
        self._size -= len(self._back)

    def forget(self) -> None:
        """Start a new record."""
        self.record.clear()
        self._size = 0
