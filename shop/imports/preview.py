"""What an import would do with a file; reads all of it and stores nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from shop.imports.judging import ParsedRow, judge
from shop.imports.layout import AS_FOUND, Layout
from shop.imports.problems import ProblemKind
from shop.imports.source import ImportSource, opened

PEOPLE = 5
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
    good: int = 0
    """Rows whose people would become users, unless they are users already."""
    kinds: dict[str, ProblemKind] = field(default_factory=dict)
    """What is wrong with the other rows."""

    @property
    def problems(self) -> list[ProblemKind]:
        """Return the kinds of problems, the most frequent first."""
        return sorted(self.kinds.values(), key=lambda kind: -kind.rows)


def preview(file: BinaryIO, layout: Layout = AS_FOUND) -> Preview:
    """Read all of an open file. Raises `ImportRefusedError` as the import would.

    Keeps a few numbers for each address in memory.
    """
    with opened(file, layout) as source:
        header = source.table.header
        found = Preview(
            source.encoding.label,
            source.encoding.is_guess,
            source.table.delimiter,
            header.names[header.email_at],
            header.name.written(header.names),
            header.skipped,
        )
        for landing in _judged(source):
            _count(found, landing)
    return found


def _judged(source: ImportSource) -> Iterator[ParsedRow]:
    """Judge each row, also for addresses that an earlier row has."""
    lines: dict[int, int] = {}
    for row in source.rows():
        landing = judge(row, source.table.header)
        if landing.email is not None:
            before = lines.setdefault(hash(landing.email.lower()), landing.line)
            if before != landing.line:
                reason = f"line {before} has the same address"
                landing = ParsedRow(row.number, row.line, problem="duplicate", reason=reason)
        yield landing


def _count(found: Preview, landing: ParsedRow) -> None:
    found.rows += 1
    if landing.problem is None or landing.reason is None:
        found.good += 1
        if len(found.people) < PEOPLE:
            found.people.append((landing.name or "", landing.email or ""))
        return
    first = found.kinds.get(landing.problem)
    rows = first.rows + 1 if first else 1
    line, reason = (first.line, first.reason) if first else (landing.line, landing.reason)
    found.kinds[landing.problem] = ProblemKind(landing.problem, rows, line, reason)
