"""Tables in the documentation; each marker holds the arguments that produce its table."""

import re
from pathlib import Path

from bench.capacity import asked, table
from bench.capacity.figures import Figures

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = (DOCS / "capacity.md", DOCS / "roles.md")
PART = re.compile(
    r"(<!-- (costs|checked|ends|hosts|vacuum|capacity)(.*?) -->\n).*?(?=<!-- /\2 -->)", re.DOTALL
)
PLAIN = {
    "costs": table.costs,
    "checked": table.checked,
    "ends": table.ends,
    "hosts": table.hosts,
    "vacuum": table.vacuum,
}


def written(text: str, figures: Figures) -> str:
    """Return the page with its tables regenerated."""

    def part(found: re.Match[str]) -> str:
        if found[2] != "capacity":
            return found[1] + PLAIN[found[2]](figures)
        words = asked.parser().parse_args(found[3].split())
        return found[1] + table.needs(asked.loads(words), figures)

    return PART.sub(part, text)
