"""Decides whether a row names a person who can become a user, and if not, why."""

from dataclasses import dataclass
from typing import Literal

from shop.imports.header import Header
from shop.imports.table import CsvRow
from shop.people import InvalidAddressError, InvalidNameError, names
from shop.spreadsheet_safety import unshielded
from workshed import addresses

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

LONGEST_FIELD = 10_000
"""Characters that are kept of each field of a row that cannot become a user."""
LONGEST_REASON = 500


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


def judge(row: CsvRow, header: Header) -> ParsedRow:
    """Check a row by itself; whether its address is taken is checked later."""
    given = [unshielded(field) for field in row.fields] if header.is_of_failures else row.fields
    problem, reason = _lack(row, header)
    if problem is None:
        try:
            name = names.normalize(header.name.read(given))
            email = addresses.normalize(given[header.email_at].strip())
            cells = None if header.is_plain else _kept(given)
            return ParsedRow(row.number, row.line, name, email, cells=cells)
        except InvalidNameError as err:
            problem, reason = "name", f"{header.name_columns}: {err.reason}"
        except InvalidAddressError as err:
            problem, reason = "address", f"column {header.column(header.email_at)}: {err.reason}"
    cut = reason and reason[:LONGEST_REASON]
    return ParsedRow(row.number, row.line, fields=_kept(given), problem=problem, reason=cut)


def _kept(fields: list[str]) -> list[str]:
    """Return the fields in a form that PostgreSQL can store."""
    return [field[:LONGEST_FIELD].replace("\0", "\ufffd") for field in fields]


def _lack(row: CsvRow, header: Header) -> tuple[Problem | None, str | None]:
    """Return what a row lacks or has too much of; empty cells at its end are optional."""
    if row.filled > len(header.names) or row.width <= max(header.email_at, min(header.name.at)):
        return "columns", f"{row.width} columns where the header has {len(header.names)}"
    for at in sorted(header.used):
        if at < row.width and "\0" in row.fields[at]:
            return "nul", f"a NUL in column {header.column(at)}"
    if not header.name.read(row.fields).strip():
        return "no name", "the name is missing"
    if not row.fields[header.email_at].strip():
        return "no address", "the address is missing"
    return None, None
