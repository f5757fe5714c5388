"""What an import would do with a file; reads all of it and stores nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from shop.imports.layout import DETECT_ALL, Layout
from shop.imports.problems import ProblemKind
from shop.imports.source import ImportSource, open_source
from shop.imports.validation import ParsedRow, validate_row

MAX_PEOPLE = 5
"""How many people are shown."""


@dataclass(slots=True)
class Preview:
    """How a file is read, and what its rows would become, as far as the file alone shows."""

    encoding: str
    is_guess: bool
    delimiter: str
    email: str
    """The address column."""
    name: str
    """The name column, or a template of several, for example `{first_name} {last_name}`."""
    skipped: list[str]
    people: list[tuple[str, str]] = field(default_factory=list)
    """Name and address of the first people."""
    rows: int = 0
    valid_rows: int = 0
    """Rows whose people would become users, unless they are users already."""
    kinds_by_problem: dict[str, ProblemKind] = field(default_factory=dict)
    """What is wrong with the other rows."""

    @property
    def problems(self) -> list[ProblemKind]:
        """Return the kinds of problems, the most frequent first."""
        return sorted(self.kinds_by_problem.values(), key=lambda kind: -kind.rows)


def preview_file(file: BinaryIO, layout: Layout = DETECT_ALL) -> Preview:
    """Read all of an open file. Raises `ImportRefusedError` as the import would.

    Keeps a few numbers for each address in memory.
    """
    with open_source(file, layout) as source:
        header = source.table.header
        found = Preview(
            source.encoding.label,
            source.encoding.is_guess,
            source.table.delimiter,
            header.names[header.email_at],
            header.name.to_template(header.names),
            header.skipped,
        )
        for landing in _validate_rows(source):
            _add_row(found, landing)
    return found


def _validate_rows(source: ImportSource) -> Iterator[ParsedRow]:
    """Judge each row, also for addresses that an earlier row has."""
    lines: dict[int, int] = {}
    for row in source.rows():
        landing = validate_row(row, source.table.header)
        if landing.email is not None:
            before = lines.setdefault(hash(landing.email.lower()), landing.line)
            if before != landing.line:
                reason = f"line {before} has the same address"
                landing = ParsedRow(row.number, row.line, problem="duplicate", reason=reason)
        yield landing


def _add_row(found: Preview, landing: ParsedRow) -> None:
    found.rows += 1
    if landing.problem is None or landing.reason is None:
        found.valid_rows += 1
        if len(found.people) < MAX_PEOPLE:
            found.people.append((landing.name or "", landing.email or ""))
        return
    first = found.kinds_by_problem.get(landing.problem)
    rows = first.rows + 1 if first else 1
    line, reason = (first.line, first.reason) if first else (landing.line, landing.reason)
    found.kinds_by_problem[landing.problem] = ProblemKind(landing.problem, rows, line, reason)
