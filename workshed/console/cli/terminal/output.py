"""Output of commands: tables for people, JSON for programs."""

import json
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from workshed.console.text import escape_control, to_json_type

NUMBER = re.compile(r"\d+|-")
GAP = 2
NARROWEST = 12


def print_message(line: str) -> None:
    """Print a message for the user on stderr; stdout is for data."""
    print(escape_control(line), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Write one JSON value on stdout, in ASCII."""
    print(json.dumps(value, default=to_json_type, indent=2))


def create_console() -> Console:
    """Return a console for stdout; a file or a pipe counts as 80 columns wide."""
    return Console(highlight=False, markup=False, emoji=False)


def has_width() -> bool:
    """Return whether stdout is a terminal, or COLUMNS names a width."""
    return bool(shutil.get_terminal_size((0, 0)).columns)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, elastic: int | None = None
) -> None:
    """Print a table, with numbers right-aligned.

    If the table is wider than the terminal, only the column `elastic` is cut, so that ids stay
    whole. A file or a pipe gets the full table, so that `grep` works.
    """
    cells = [[format_cell(value) for value in row] for row in rows]
    widths = [
        max([len(name), *(measure_width(row[n]) for row in cells)])
        for n, name in enumerate(columns)
    ]
    out = create_console()
    if elastic is not None and has_width():
        room = out.width - sum(widths) - GAP * (len(columns) - 1) + widths[elastic]
        widths[elastic] = min(widths[elastic], max(room, NARROWEST))
    out.width = max(out.width, sum(widths) + GAP * len(columns))
    found = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for n, name in enumerate(columns):
        numeric = all(NUMBER.fullmatch(row[n].plain) for row in cells)
        found.add_column(
            name,
            width=widths[n],
            justify="right" if numeric else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in cells:
        found.add_row(*row)
    out.print(found)


def format_cell(value: object) -> Text:
    """Format one value; `None` is a dash."""
    return Text("-" if value is None else escape_control(str(value)))


def measure_width(text: Text) -> int:
    """Return the width of the longest line, in columns."""
    return max(line.cell_len for line in text.split(allow_blank=True))


def print_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair per line; a terminal wraps long values, none is cut."""
    found = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    found.add_column(style="bold", no_wrap=True)
    found.add_column(overflow="fold")
    rows = [(name, format_cell(value)) for name, value in pairs]
    for name, cell in rows:
        found.add_row(name, cell)
    out = create_console()
    if rows and not has_width():
        longest = max(measure_width(cell) for _, cell in rows)
        out.width = max(out.width, max(len(name) for name, _ in rows) + GAP + longest)
    out.print(found)
