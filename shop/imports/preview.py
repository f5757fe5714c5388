"""What an import would do with a file: read whole, and nothing of it stored."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from shop.imports.judging import ParsedRow, judge
from shop.imports.layout import AS_FOUND, Layout
from shop.imports.problems import ProblemKind
from shop.imports.source import ImportSource, opened

PEOPLE = 5
"""So many are shown."""


@dataclass(slots=True)
class Preview:
    """How a file is read, and what becomes of its rows as far as the file alone can tell."""

    encoding: str
    is_guess: bool
    delimiter: str
    email: str
    """The column of the address."""
    name: str
    """That of the name, or several, as in `{first_name} {last_name}`."""
    skipped: list[str]
    people: list[tuple[str, str]] = field(default_factory=list)
    """The first: name and address."""
    rows: int = 0
    good: int = 0
    """Those whose people become users, but for those who are users already."""
    kinds: dict[str, ProblemKind] = field(default_factory=dict)
    """What is wrong with the others."""

    @property
    def problems(self) -> list[ProblemKind]:
        """Return the kinds of problems, the most frequent first."""
        return sorted(self.kinds.values(), key=lambda kind: -kind.rows)


def preview(file: BinaryIO, layout: Layout = AS_FOUND) -> Preview:
    """Read all of an open file. Raises `ImportRefusedError` as the import would.

    In memory is a number for each address.
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
    """Judge each row, also by those before it."""
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
