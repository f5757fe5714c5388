"""Tables in the documentation; each marker holds the arguments that produce its table."""

import re
from pathlib import Path

from bench.capacity import arguments, table
from bench.capacity.figures import Figures

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = (DOCS / "capacity.md", DOCS / "roles.md")
TABLE_MARKER = re.compile(
    r"(<!-- (costs|checked|ends|hosts|vacuum|capacity)(.*?) -->\n).*?(?=<!-- /\2 -->)", re.DOTALL
)
TABLES = {
    "costs": table.costs_table,
    "checked": table.model_check_table,
    "ends": table.limits_table,
    "hosts": table.hosts_table,
    "vacuum": table.vacuum_table,
}


def update_tables(text: str, figures: Figures) -> str:
    """Return the page with its tables regenerated."""

    def part(found: re.Match[str]) -> str:
        if found[2] != "capacity":
            return found[1] + TABLES[found[2]](figures)
        words = arguments.build_parser().parse_args(found[3].split())
        return found[1] + table.needs_table(arguments.build_loads(words), figures)

    return TABLE_MARKER.sub(part, text)
