"""Decides whether a row names a person who can become a user, and if not, why."""

from dataclasses import dataclass
from typing import Literal

from shop.imports.csv_reader import CsvRow
from shop.imports.header import Header
from shop.people import InvalidAddressError, InvalidNameError, names
from shop.spreadsheet_safety import unescape_formula
from workshed.contrib.mail import addresses

Problem = Literal[
    "columns",  # more or fewer than in the header
    "nul",
    "no name",
    "name",
    "no address",
    "address",
    "duplicate",  # an earlier row has the address
    "taken",  # an existing user has the address
    "refused",  # PostgreSQL refuses such a user
    "died",  # the row's job is dead
]

MAX_FIELD_LENGTH = 10_000
"""Characters that are kept of each field of a row that cannot become a user."""
MAX_REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """A row as it is stored: a person, or the fields and what is wrong with them."""

    number: int
    line: int
    name: str | None = None
    email: str | None = None
    fields: list[str] | None = None
    cells: list[str] | None = None
    """All cells of a row with a person, if the file has more columns than name and address."""
    problem: Problem | None = None
    reason: str | None = None


def validate_row(row: CsvRow, header: Header) -> ParsedRow:
    """Check a row by itself; whether its address is taken is checked later."""
    given = (
        [unescape_formula(field) for field in row.fields] if header.is_failure_list else row.fields
    )
    problem, reason = _find_problem(row, header)
    if problem is None:
        try:
            name = names.normalize(header.name.compose(given))
            email = addresses.normalize_address(given[header.email_at].strip())
            cells = None if header.is_plain else _to_storable(given)
            return ParsedRow(row.number, row.line, name, email, cells=cells)
        except InvalidNameError as err:
            problem, reason = "name", f"{header.name_columns}: {err.reason}"
        except InvalidAddressError as err:
            problem, reason = (
                "address",
                f"column {header.column_label(header.email_at)}: {err.reason}",
            )
    cut = reason and reason[:MAX_REASON_LENGTH]
    return ParsedRow(row.number, row.line, fields=_to_storable(given), problem=problem, reason=cut)


def _to_storable(fields: list[str]) -> list[str]:
    """Return the fields in a form that PostgreSQL can store."""
    return [field[:MAX_FIELD_LENGTH].replace("\0", "\ufffd") for field in fields]


def _find_problem(row: CsvRow, header: Header) -> tuple[Problem | None, str | None]:
    """Return what a row lacks or has too much of; empty cells at its end are optional."""
    if row.filled_width > len(header.names) or row.width <= max(
        header.email_at, min(header.name.indexes)
    ):
        return "columns", f"{row.width} columns where the header has {len(header.names)}"
    for at in sorted(header.used_columns):
        if at < row.width and "\0" in row.fields[at]:
            return "nul", f"a NUL in column {header.column_label(at)}"
    if not header.name.compose(row.fields).strip():
        return "no name", "the name is missing"
    if not row.fields[header.email_at].strip():
        return "no address", "the address is missing"
    return None, None
