"""A file of people, opened as its owner specified or as was detected."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from typing import BinaryIO

from shop.imports import encoding
from shop.imports.alternative_encodings import AlternativeEncodings
from shop.imports.csv_reader import CsvRow, CsvTable
from shop.imports.decompression import open_decompressed
from shop.imports.encoding import Encoding
from shop.imports.layout import Layout
from shop.imports.plausibility import is_western


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
        rivals = AlternativeEncodings(encoding.FALLBACK_CODEC)
        for row in self.table.rows():
            if self.encoding.is_guess:
                self._check_plausible(row, rivals)
            yield row
        if found := rivals.first_ambiguity():
            raise encoding.ambiguous_encoding_error(found)

    def _check_plausible(self, row: CsvRow, rivals: AlternativeEncodings) -> None:
        """Refuse implausible cells, and track which other encodings are plausible as well."""
        for at in sorted(self.table.header.used_columns):
            cell = row.fields[at] if at < len(row.fields) else ""
            column = f"column {self.table.header.column_label(at)}"
            if not is_western(cell):
                raise encoding.unknown_encoding_error(
                    cell.encode(encoding.FALLBACK_CODEC), row.line, column
                )
            rivals.narrow(cell, row.line, column)


@contextmanager
def open_source(file: BinaryIO, layout: Layout) -> Generator[ImportSource]:
    """Open the table in a file that is at its beginning. Raises `ImportRefusedError`."""
    content = open_decompressed(file)
    found = encoding.detect_encoding(content, layout.encoding)
    with TextIOWrapper(content, found.codec, newline="") as text:
        yield ImportSource(found, CsvTable(text, layout))
