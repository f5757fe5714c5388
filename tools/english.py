"""Count the words of the README and of the docs that show whom their English is for."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
LEFT_OUT = (
    re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.DOTALL | re.MULTILINE),  # code
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"</?\w[^>]*>", re.DOTALL),
    re.compile(r"`+[^`]+`+"),  # code in a sentence
    re.compile(r"(?<=\])\([^)]*\)"),  # the target of a link
    re.compile(r"https?://\S+"),
)
WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
PAGE_WORDS = 300
"""A page of fewer words is judged with all others only: a single word would decide."""
REFERENCE = "docs/reference-"
"""Pages made from docstrings begin so. They list names, so only their avoided words count."""
AVOIDED = (
    *("told", "anew", "beside", "nobody", "whoever", "anybody", "thereby"),
    *("tell whether", "of which one"),
)


class Measure(NamedTuple):
    """What is counted, and its least and greatest number per 1 000 words."""

    name: str
    pattern: re.Pattern[str]
    least: float
    """For all pages together."""
    least_on_page: float
    greatest: float
    """For all pages together, and for each page."""


def _any_of(*words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)


NO_LIMIT = float("inf")
MEASURES = (
    Measure("you", _any_of("you", "your", "yours", "yourself"), 10, 5, NO_LIMIT),
    Measure("default", _any_of("defaults?"), 2, 0, NO_LIMIT),
    Measure("for example", _any_of("for example"), 0.5, 0, NO_LIMIT),
    Measure("avoided", _any_of(*AVOIDED), 0, 0, 0.2),
)


class Count(NamedTuple):
    """The words of a page, and how often each measure's words occur in them."""

    words: int
    hits: dict[str, int]

    def rate(self, measure: Measure) -> float:
        """Return how often the measure's words occur in 1 000 words."""
        return 1000 * self.hits[measure.name] / self.words if self.words else 0.0

    def lags(self, least: Callable[[Measure], float]) -> list[str]:
        """Return the measures that are missed, with their numbers."""
        missed = []
        for measure in MEASURES:
            rate = self.rate(measure)
            if rate < least(measure):
                missed.append(f"{measure.name}: {rate:.1f}, should be {least(measure):g} or more")
            if rate > measure.greatest:
                missed.append(f"{measure.name}: {rate:.1f}, should be {measure.greatest:g} or less")
        return missed


def find_pages() -> Iterator[Path]:
    """Return the pages for readers: the README and all of `docs`."""
    return iter([ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])


def read_prose(markdown: str) -> str:
    """Return a page without code, comments, tags and addresses."""
    for pattern in LEFT_OUT:
        markdown = pattern.sub(" ", markdown)
    return re.sub(r"\s+", " ", markdown)


def count_prose(prose: str) -> Count:
    """Count the words of a page, and those of each measure."""
    hits = {measure.name: len(measure.pattern.findall(prose)) for measure in MEASURES}
    return Count(len(WORD.findall(prose)), hits)


def count_pages() -> dict[str, Count]:
    """Return the count of each page, by its path in the repository."""
    return {
        str(page.relative_to(ROOT)): count_prose(read_prose(page.read_text("utf-8")))
        for page in find_pages()
    }


def add_up(counts: dict[str, Count]) -> Count:
    """Return the count of all pages together, without those made from docstrings."""
    counts = {page: count for page, count in counts.items() if not page.startswith(REFERENCE)}
    hits = {
        measure.name: sum(count.hits[measure.name] for count in counts.values())
        for measure in MEASURES
    }
    return Count(sum(count.words for count in counts.values()), hits)


def find_lagging(counts: dict[str, Count]) -> dict[str, list[str]]:
    """Return the pages of more than `PAGE_WORDS` words that miss a measure, with what they miss."""
    return {
        page: missed
        for page, count in counts.items()
        if count.words > PAGE_WORDS and (missed := count.lags(_least_on(page)))
    }


def _least_on(page: str) -> Callable[[Measure], float]:
    if page.startswith(REFERENCE):
        return lambda _measure: 0.0
    return lambda measure: measure.least_on_page


def main() -> None:
    """Print each page's numbers per 1 000 words, and those of all pages together."""
    counts = count_pages()
    lagging = find_lagging(counts)
    head = "".join(f"{measure.name:>13}" for measure in MEASURES)
    sys.stdout.write(f"{'per 1 000 words':<38}{'words':>7}{head}\n")
    for page, count in [*counts.items(), ("together", add_up(counts))]:
        rates = "".join(f"{count.rate(measure):13.1f}" for measure in MEASURES)
        mark = "  lags" if page in lagging else ""
        sys.stdout.write(f"{page:<38}{count.words:7}{rates}{mark}\n")


if __name__ == "__main__":
    main()
