"""Which columns a file has, as its first line names them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self

from workshed.imports.errors import ImportRefusedError

NAME, EMAIL = "name", "email"
WANTED = (NAME, EMAIL)
PASSED_OVER = ("line", "reason")
"""What the list of failed rows has beside them: with the rows corrected it can be handed in."""
KNOWN = (*WANTED, *PASSED_OVER)
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a file."""

    names: tuple[str, ...]
    """As they stand there."""
    name_at: int
    """The index of who it is."""
    email_at: int
    """The index of their address."""
    is_of_failures: bool
    """Whether it is the list of failed rows of another import."""

    @classmethod
    def of(cls, fields: Sequence[str], line: int) -> Self:
        """Read the first record; raises `ImportRefusedError` with the column that is wrong."""
        found: dict[str, int] = {}
        for index, field in enumerate(fields):
            known = folded(field)
            if known not in KNOWN:
                raise ImportRefusedError(
                    f"the column {field[:100]!r} is not known{_meant(known)}; there may be "
                    f"{' and '.join(WANTED)}",
                    line=line,
                    column=numbered(index),
                )
            if known in found:
                raise ImportRefusedError(
                    f"{field[:100]!r} is there again, after column {found[known] + 1}; "
                    "leave one of the two",
                    line=line,
                    column=numbered(index),
                )
            found[known] = index
        missing = [known for known in WANTED if known not in found]
        if missing:
            raise ImportRefusedError(
                f"there is no column {' and no column '.join(map(repr, missing))}; the first line "
                f"must name the columns, as in {','.join(WANTED)}",
                line=line,
            )
        is_of_failures = {*PASSED_OVER} <= {*found}
        return cls(tuple(fields), found[NAME], found[EMAIL], is_of_failures)

    def column(self, index: int) -> str:
        """Name a column, also one that the header has not."""
        return repr(self.names[index]) if index < len(self.names) else str(index + 1)


def folded(field: str) -> str:
    """Return the one spelling of a column's name: `E-Mail` and `e_mail` are `email`."""
    return "".join(letter for letter in field.casefold() if letter not in " \t-_\u00a0")


def numbered(index: int) -> str:
    """Name a column by its place."""
    return f"column {index + 1}"


def delimiter_of(line: str) -> str:
    """Return what stands between the columns that a header names.

    That with which most are known, and of those which know as many, with which there are most.
    """

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            fields = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:  # which is said of the record, with its place
            return 0, 0
        return sum(folded(field) in KNOWN for field in fields), len(fields)

    return max(DELIMITERS, key=fit)


def _meant(field: str) -> str:
    close = get_close_matches(field, KNOWN, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
