"""The `--json` output that the page about commands documents."""

import re

from tests import pages

PAGE = pages.text("docs/command-line.md")
_ROW = re.compile(r"\| `(?:workshed|python -m shop) (.+?)` \| (a list of )?((?:`\w+`(?:, )?)+) \|")


def promised():
    """Return (words, whether it is a list, keys) of each row about `--json`."""
    rows = map(_ROW.fullmatch, PAGE.splitlines())
    return [(row[1], bool(row[2]), re.findall(r"`(\w+)`", row[3])) for row in rows if row]


def keys(line):
    """Return the documented keys of one command's output."""
    return next(found for words, _, found in promised() if words == line)
