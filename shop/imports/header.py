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
from shop.imports.layout import DETECT_ALL, Layout
from shop.imports.name_columns import NameColumns, template_columns

FAILURE_COLUMNS = ("line", "reason")
"""Columns that the list of failed rows adds to those of its file; an import ignores them."""
DELIMITERS = (",", ";", "\t", "|")
MAX_NAMED = 20
"""At most so many columns are named in an error."""
_INVISIBLE = frozenset(" \t-_\u00a0\ufeff\u200b\u200e\u200f")


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a file."""

    names: tuple[str, ...]
    """As written in the file."""
    name: NameColumns
    """The columns of the person's name."""
    email_at: int
    """The index of the address column."""
    is_failure_list: bool
    """Whether the file is the list of failed rows of another import."""

    @classmethod
    def parse(cls, fields: Sequence[str], line: int, layout: Layout = DETECT_ALL) -> Self:
        """Read the header record; raises `ImportRefusedError` with what is missing or wrong."""
        row = _HeaderRow(fields, line)
        email_at = row.find_email(layout.email)
        name = row.find_name(layout.name)
        is_of_failures = set(FAILURE_COLUMNS) <= {*row.folded_fields}
        return cls(tuple(fields), name, email_at, is_of_failures)

    @property
    def used_columns(self) -> set[int]:
        """The indexes of the columns that are read."""
        return {self.email_at, *self.name.indexes}

    @property
    def original_columns(self) -> list[int]:
        """The indexes of all columns except those that the list of failed rows has added."""
        added = (
            {self._index_of(name) for name in FAILURE_COLUMNS} if self.is_failure_list else set()
        )
        return [at for at in range(len(self.names)) if at not in added]

    @property
    def skipped(self) -> list[str]:
        """The columns that are not read, except those without a name."""
        return [
            self.names[at]
            for at in self.original_columns
            if at not in self.used_columns and self._has_name(at)
        ]

    @property
    def is_plain(self) -> bool:
        """Whether the file has no columns other than one name and the address."""
        return {*self.original_columns} == self.used_columns and len(self.name.indexes) == 1

    @property
    def layout(self) -> Layout:
        """A layout that makes the same columns be read."""
        return Layout(email=self.names[self.email_at], name=self.name.to_template(self.names))

    def column_label(self, index: int) -> str:
        """Format the name of a column, or the number of one that the header lacks."""
        return repr(self.names[index]) if index < len(self.names) else str(index + 1)

    @property
    def name_columns(self) -> str:
        """The columns of the person's name, for an error message."""
        many = "columns" if len(self.name.indexes) > 1 else "column"
        return f"{many} {' and '.join(map(self.column_label, self.name.indexes))}"

    def _index_of(self, name: str) -> int:
        return next(at for at, field in enumerate(self.names) if fold_name(field) == name)

    def _has_name(self, at: int) -> bool:
        return bool(fold_name(self.names[at]))


class _HeaderRow:
    """The header record, in which columns are looked up."""

    def __init__(self, fields: Sequence[str], line: int) -> None:
        self.fields = fields
        self.line = line
        self.folded_fields = [fold_name(field) for field in fields]

    def find_email(self, said: str | None) -> int:
        if said is not None:
            return self._require_column(said)
        known = (*map(fold_name, aliases.email_aliases()), *EMAILS)
        for name in known:
            if (at := self._find_column(name)) is not None:
                return at
        return self._raise_missing("email", known)

    def find_name(self, said: str | None) -> NameColumns:
        if said is not None:
            return self._parse_name(said)
        for alias in aliases.name_aliases():
            if all(
                self._find_column(fold_name(column)) is not None
                for column in template_columns(alias)
            ):
                return self._parse_name(alias)
        found = next(self._name_candidates(), None)
        return found or self._raise_missing("name", (*FULL_NAMES, *SHORT_NAMES))

    def _name_candidates(self) -> Iterator[NameColumns]:
        """Yield the possible columns of the name, the most likely first.

        In `Vorname;Name` the column `Name` has only the last name, so pairs come before `name`.
        """
        for parts in NAME_PARTS:
            at = [found for part in parts if (found := self._find_column(part)) is not None]
            whole = next((one for one in FULL_NAMES if self._find_column(one) is not None), None)
            if len(at) == len(parts) and (whole is None or whole in parts):
                yield NameColumns.join(at)
        for known in (*FULL_NAMES, *SHORT_NAMES):
            if (found := self._find_column(known)) is not None:
                yield NameColumns.join([found])

    def _parse_name(self, said: str) -> NameColumns:
        """Find one column, or those of a template like `{first_name} {last_name}`."""
        if fold_name(said) in self.folded_fields:
            return NameColumns.join([self._require_column(said)])
        return NameColumns.parse(said, self._require_column)

    def _require_column(self, name: str) -> int:
        at = self._find_column(fold_name(name)) if fold_name(name) else None
        if at is None:
            close = get_close_matches(fold_name(name), self.folded_fields, n=1)
            meant = (
                f" (did you mean {self.fields[self.folded_fields.index(close[0])]!r}?)"
                if close
                else ""
            )
            raise ImportRefusedError(
                f"there is no column {name[:100]!r}{meant}; {self._list_columns()}", line=self.line
            )
        return at

    def _find_column(self, known: str) -> int | None:
        """Return the index of a column; raises `ImportRefusedError` if there are two."""
        places = [at for at, name in enumerate(self.folded_fields) if name == known]
        if len(places) > 1:
            raise ImportRefusedError(
                f"{self.fields[places[1]][:100]!r} is there again, after column {places[0] + 1}; "
                "rename one of the two",
                line=self.line,
                column=f"column {places[1] + 1}",
            )
        return places[0] if places else None

    def _raise_missing(self, column: str, known: Sequence[str]) -> NoReturn:
        option = {"email": '--map email="Email Address"', "name": '--name "{first} {last}"'}[column]
        close = [
            field
            for field, name in zip(self.fields, self.folded_fields, strict=True)
            if get_close_matches(name, known, n=1, cutoff=0.8)
        ]
        meant = f" (did you mean {close[0][:100]!r}?)" if close else ""
        raise ImportRefusedError(
            f"there is no column {column!r}{meant}; {self._list_columns()}. The first line must "
            "name the "
            f"columns; say which is meant, as in {option}",
            line=self.line,
        )

    def _list_columns(self) -> str:
        shown = ", ".join(repr(field[:100]) for field in self.fields[:MAX_NAMED])
        return f"there are {shown}{', …' if len(self.fields) > MAX_NAMED else ''}"


def fold_name(field: str) -> str:
    """Return a column's name in canonical spelling: `E-Mail` and `e_mail` become `email`."""
    plain = unicodedata.normalize("NFC", field.casefold())
    return "".join(letter for letter in plain if letter not in _INVISIBLE)


def detect_delimiter(line: str, layout: Layout = DETECT_ALL) -> str:
    """Return the delimiter of a header line.

    This is the one that yields the most known columns, and among those the most columns.
    """
    said = [*template_columns(layout.name or ""), layout.email or "", *aliases.email_aliases()]
    said += [column for alias in aliases.name_aliases() for column in template_columns(alias)]
    known = {*map(fold_name, said), *aliases.KNOWN, *FAILURE_COLUMNS} - {""}

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
        except csv.Error:  # reading the record reports it, with its place
            return 0, 0
        return sum(fold_name(field) in known for field in fields), len(fields)

    return max(DELIMITERS, key=fit)
