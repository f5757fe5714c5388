"""A file of people, opened as its owner says or as its bytes do."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from typing import BinaryIO

from workshed.imports import encoding
from workshed.imports.encoding import Encoding
from workshed.imports.layout import Layout
from workshed.imports.packing import unpacked
from workshed.imports.plausibility import is_western
from workshed.imports.table import Row, Table


@dataclass(frozen=True, slots=True)
class Source:
    """A table, and in which encoding it is read."""

    encoding: Encoding
    table: Table

    def rows(self) -> Iterator[Row]:
        """Yield the rows; raises `ImportRefusedError`, also where an encoding was guessed wrong.

        No user is made before all rows were read, so that one name that cannot be right is enough.
        """
        for row in self.table.rows():
            if self.encoding.is_guess:
                self._refuse_implausible(row)
            yield row

    def _refuse_implausible(self, row: Row) -> None:
        for at in self.table.header.used:
            cell = row.fields[at] if at < len(row.fields) else ""
            if not is_western(cell):
                column = f"column {self.table.header.column(at)}"
                raise encoding.unknown(cell.encode(encoding.GUESSED), row.line, column)


@contextmanager
def opened(file: BinaryIO, layout: Layout) -> Generator[Source]:
    """Lend the table in a file that stands at its beginning. Raises `ImportRefusedError`."""
    content = unpacked(file)
    found = encoding.of(content, layout.encoding)
    with TextIOWrapper(content, found.codec, newline="") as text:
        yield Source(found, Table(text, layout))
