"""The columns of a file, as its header names them, and which of them are read."""

import csv
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn, Self

from shop.imports import aliases
from shop.imports.aliases import EMAILS, FULL_NAMES, NAME_PARTS, SHORT_NAMES
from shop.imports.errors import ImportRefusedError
from shop.imports.layout import AS_FOUND, Layout
from shop.imports.naming import Columns, columns

PASSED_OVER = ("line", "reason")
"""Columns that the list of failed rows adds to those of its file; an import ignores them."""
DELIMITERS = (",", ";", "\t", "|")
SHOWN = 20
"""At most so many columns are named in an error."""
_INVISIBLE = frozenset(" \t-_\u00a0\ufeff\u200b\u200e\u200f")


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a file."""

    names: tuple[str, ...]
    """As written in the file."""
    name: Columns
    """The columns of the person's name."""
    email_at: int
    """The index of the address column."""
    is_of_failures: bool
    """Whether the file is the list of failed rows of another import."""

    @classmethod
    def of(cls, fields: Sequence[str], line: int, layout: Layout = AS_FOUND) -> Self:
        """Read the header record; raises `ImportRefusedError` with what is missing or wrong."""
        row = _Row(fields, line)
        email_at = row.email(layout.email)
        name = row.name(layout.name)
        is_of_failures = set(PASSED_OVER) <= {*row.folded}
        return cls(tuple(fields), name, email_at, is_of_failures)

    @property
    def used(self) -> set[int]:
        """The indexes of the columns that are read."""
        return {self.email_at, *self.name.at}

    @property
    def original(self) -> list[int]:
        """The indexes of all columns except those that the list of failed rows has added."""
        added = {self._first(name) for name in PASSED_OVER} if self.is_of_failures else set()
        return [at for at in range(len(self.names)) if at not in added]

    @property
    def skipped(self) -> list[str]:
        """The columns that are not read, except those without a name."""
        return [self.names[at] for at in self.original if at not in self.used and self._named(at)]

    @property
    def is_plain(self) -> bool:
        """Whether the file has no columns other than one name and the address."""
        return {*self.original} == self.used and len(self.name.at) == 1

    @property
    def layout(self) -> Layout:
        """A layout that makes the same columns be read."""
        return Layout(email=self.names[self.email_at], name=self.name.written(self.names))

    def column(self, index: int) -> str:
        """Format the name of a column, or the number of one that the header lacks."""
        return repr(self.names[index]) if index < len(self.names) else str(index + 1)

    @property
    def name_columns(self) -> str:
        """The columns of the person's name, for an error message."""
        many = "columns" if len(self.name.at) > 1 else "column"
        return f"{many} {' and '.join(map(self.column, self.name.at))}"

    def _first(self, name: str) -> int:
        return next(at for at, field in enumerate(self.names) if folded(field) == name)

    def _named(self, at: int) -> bool:
        return bool(folded(self.names[at]))


class _Row:
    """The header record, in which columns are looked up."""

    def __init__(self, fields: Sequence[str], line: int) -> None:
        self.fields = fields
        self.line = line
        self.folded = [folded(field) for field in fields]

    def email(self, said: str | None) -> int:
        if said is not None:
            return self._said(said)
        known = (*map(folded, aliases.emails()), *EMAILS)
        for name in known:
            if (at := self._at(name)) is not None:
                return at
        return self._missing("email", known)

    def name(self, said: str | None) -> Columns:
        if said is not None:
            return self._written(said)
        for alias in aliases.names():
            if all(self._at(folded(column)) is not None for column in columns(alias)):
                return self._written(alias)
        found = next(self._names(), None)
        return found or self._missing("name", (*FULL_NAMES, *SHORT_NAMES))

    def _names(self) -> Iterator[Columns]:
        """Yield the possible columns of the name, the most likely first.

        In `Vorname;Name` the column `Name` has only the last name, so pairs come before `name`.
        """
        for parts in NAME_PARTS:
            at = [found for part in parts if (found := self._at(part)) is not None]
            whole = next((one for one in FULL_NAMES if self._at(one) is not None), None)
            if len(at) == len(parts) and (whole is None or whole in parts):
                yield Columns.joined(at)
        for known in (*FULL_NAMES, *SHORT_NAMES):
            if (found := self._at(known)) is not None:
                yield Columns.joined([found])

    def _written(self, said: str) -> Columns:
        """Find one column, or those of a template like `{first_name} {last_name}`."""
        if folded(said) in self.folded:
            return Columns.joined([self._said(said)])
        return Columns.of(said, self._said)

    def _said(self, name: str) -> int:
        at = self._at(folded(name)) if folded(name) else None
        if at is None:
            close = get_close_matches(folded(name), self.folded, n=1)
            meant = (
                f" (did you mean {self.fields[self.folded.index(close[0])]!r}?)" if close else ""
            )
            raise ImportRefusedError(
                f"there is no column {name[:100]!r}{meant}; {self._all()}", line=self.line
            )
        return at

    def _at(self, known: str) -> int | None:
        """Return the index of a column; raises `ImportRefusedError` if there are two."""
        places = [at for at, name in enumerate(self.folded) if name == known]
        if len(places) > 1:
            raise ImportRefusedError(
                f"{self.fields[places[1]][:100]!r} is there again, after column {places[0] + 1}; "
                "rename one of the two",
                line=self.line,
                column=f"column {places[1] + 1}",
            )
        return places[0] if places else None

    def _missing(self, wanted: str, known: Sequence[str]) -> NoReturn:
        option = {"email": '--map email="Email Address"', "name": '--name "{first} {last}"'}[wanted]
        close = [
            field
            for field, name in zip(self.fields, self.folded, strict=True)
            if get_close_matches(name, known, n=1, cutoff=0.8)
        ]
        meant = f" (did you mean {close[0][:100]!r}?)" if close else ""
        raise ImportRefusedError(
            f"there is no column {wanted!r}{meant}; {self._all()}. The first line must name the "
            f"columns; say which is meant, as in {option}",
            line=self.line,
        )

    def _all(self) -> str:
        shown = ", ".join(repr(field[:100]) for field in self.fields[:SHOWN])
        return f"there are {shown}{', …' if len(self.fields) > SHOWN else ''}"


def folded(field: str) -> str:
    """Return a column's name in canonical spelling: `E-Mail` and `e_mail` become `email`."""
    plain = unicodedata.normalize("NFC", field.casefold())
    return "".join(letter for letter in plain if letter not in _INVISIBLE)


def delimiter_of(line: str, layout: Layout = AS_FOUND) -> str:
    """Return the delimiter of a header line.

    This is the one that yields the most known columns, and among those the most columns.
    """
    said = [*columns(layout.name or ""), layout.email or "", *aliases.emails()]
    said += [column for alias in aliases.names() for column in columns(alias)]
    known = {*map(folded, said), *aliases.KNOWN, *PASSED_OVER} - {""}

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
        except csv.Error:  # reading the record reports it, with its place
            return 0, 0
        return sum(folded(field) in known for field in fields), len(fields)

    return max(DELIMITERS, key=fit)
