"""A file of people, opened as its owner specified or as was detected."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from typing import BinaryIO

from shop.imports import encoding
from shop.imports.encoding import Encoding
from shop.imports.layout import Layout
from shop.imports.packing import unpacked
from shop.imports.plausibility import is_western
from shop.imports.rivals import Rivals
from shop.imports.table import CsvRow, CsvTable


@dataclass(frozen=True, slots=True)
class ImportSource:
    """A table, and the encoding in which it is read."""

    encoding: Encoding
    table: CsvTable

    def rows(self) -> Iterator[CsvRow]:
        """Yield the rows; raises `ImportRefusedError`, also if the encoding was guessed wrongly.

        One implausible name is enough for that, and only the last row may show that another
        encoding fits as well. That is early enough, because users are made once all rows are read.
        """
        rivals = Rivals(encoding.GUESSED)
        for row in self.table.rows():
            if self.encoding.is_guess:
                self._judge(row, rivals)
            yield row
        if found := rivals.found():
            raise encoding.ambiguous(found)

    def _judge(self, row: CsvRow, rivals: Rivals) -> None:
        """Refuse implausible cells, and track which other encodings are plausible as well."""
        for at in sorted(self.table.header.used):
            cell = row.fields[at] if at < len(row.fields) else ""
            column = f"column {self.table.header.column(at)}"
            if not is_western(cell):
                raise encoding.unknown(cell.encode(encoding.GUESSED), row.line, column)
            rivals.read(cell, row.line, column)


@contextmanager
def opened(file: BinaryIO, layout: Layout) -> Generator[ImportSource]:
    """Open the table in a file that is at its beginning. Raises `ImportRefusedError`."""
    content = unpacked(file)
    found = encoding.of(content, layout.encoding)
    with TextIOWrapper(content, found.codec, newline="") as text:
        yield ImportSource(found, CsvTable(text, layout))
