"""The tables of the migration guides: what you write elsewhere, and what you write here."""

import re

from tests import pages

GUIDES = (
    "docs/from-celery.md",
    "docs/from-dramatiq.md",
    "docs/from-rq.md",
    "docs/from-sidekiq.md",
)
TABLE = re.compile(r"^\| (\w+) \| Workshed \| Note \|\n\|[-|]+\n((?:\|.+\n)+)", re.MULTILINE)


def all_tables():
    """Return the rows of the tables of all guides."""
    return {system: rows for page in GUIDES for system, rows in tables(page).items()}


def tables(page):
    """Return the rows of the tables of a page, by their system; a row has three cells."""
    return {
        found[1]: [re.split(r"(?<!\\)\|", line)[1:4] for line in found[2].splitlines()]
        for found in TABLE.finditer(pages.text(page))
    }


def codes(cell):
    """Return the pieces of code in a cell."""
    return [code.replace("\\|", "|") for code in re.findall(r"`([^`]+)`", cell)]


def unknown_names(rows, folder, suffix):
    """Return the names in the first cells that are in no source file of a folder."""
    known = set()
    for file in folder.rglob(f"*{suffix}"):
        known.update(re.findall(r"[A-Za-z_]\w{3,}", file.read_text("utf-8")))
    code = " ".join(" ".join(codes(elsewhere)) for elsewhere, *_ in rows)
    return set(re.findall(r"[A-Za-z_]\w{3,}", code)) - known
