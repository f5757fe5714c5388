"""The fenced blocks of README and docs, for the tests that run them.

Blocks fenced with `~~~` are signatures that `make reference` writes; no test runs them.

A test module selects its blocks at import time, so that another test can see which are tested.
"""

import re
from dataclasses import dataclass

from tests.root import ROOT

PATHS = (
    ROOT / "README.md",
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("deploy/**/*.md"),
)
FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[^>]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """The text between two fences; `mark` is the comment before them."""

    page: str
    heading: str
    mark: str
    text: str

    @property
    def name(self):
        """The page, the heading, and the block's mark or first line."""
        return self.page, self.heading, self.mark or self.text.partition("\n")[0]


def _read():
    for path in sorted(PATHS):
        text = path.read_text("utf-8")
        for found in FENCE.finditer(text):
            above = FENCE.sub("", text[: found.start()])
            heading = re.findall(r"^#+ (.+)$", above, re.MULTILINE)[-1]
            page = str(path.relative_to(ROOT))
            yield Block(page, heading, found["mark"] or "", found["text"])


ALL = list(_read())
TAKEN: set[Block] = set()


def text(page):
    """Return the text of a page such as `docs/limits.md`."""
    return (ROOT / page).read_text("utf-8")


def block(page, start, *, under=None):
    """Return the one block of a page, or under a heading, that has or starts with this mark."""
    [found] = (
        one
        for one in ALL
        if one.page == page
        and under in (None, one.heading)
        and (one.mark == start or one.text.startswith(start))
    )
    TAKEN.add(found)
    return found.text


def files(page, mark="file"):
    """Return the blocks of a page that are files, by their names."""
    found = [one for one in ALL if one.page == page and one.mark.startswith(f"{mark}: ")]
    TAKEN.update(found)
    return {one.mark.removeprefix(f"{mark}: "): one.text for one in found}
