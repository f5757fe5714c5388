"""Count the words that show for which reader the English of the repository is written."""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tools.prose import ROOT, list_files, read_file, read_names, read_prose

WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
PAGE_WORDS = 300
"""A page of fewer words is judged with all others only: a single word would decide."""
REFERENCE = "docs/reference-"
"""Pages made from docstrings begin so. They list names, so only their avoided words count."""
AVOIDED = (
    *("told", "anew", "beside", "nobody", "somebody", "anybody", "whoever", "thereby"),
    *(r"tells?\s+whether", r"of\s+wh(?:ich|om)\s+one", r"who\s+waits"),
)
NO_NAMES = frozenset(
    {"told", "asked", "wanted", "shown", "caught", "held", "landed", "handed", "made", "done"}
    | {"looked", "which", "who", "where"}
)
"""Participles and question words, which name neither a thing nor an action."""
QUOTED = {
    "tests/service/unit/test_english.py": "samples of avoided words",
    "workshed/sql/0001_baseline.sql": "released: its checksum is in the databases of users",
    "shop/sql/0001_baseline.sql": "released: its checksum is in the databases of users",
    "workshed/contrib/mail/sql/0001_mail.sql": "released: its checksum is in databases of users",
    "workshed/console/scaffold/service.py": "names of Unix accounts and words of SQL",
}
"""Files that may contain avoided words, because there they are data."""
PUBLIC_NAMES = {
    "workshed/console/web/auth/roles.py: Who": "public since the first release",
    "workshed/contrib/storage/errors.py: where": "an attribute of public errors",
}
"""Names that users rely on."""


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


AVOIDED_WORDS = _any_of(*AVOIDED)
NO_LIMIT = float("inf")
MEASURES = (
    Measure("you", _any_of("you", "your", "yours", "yourself"), 10, 5, NO_LIMIT),
    Measure("default", _any_of("defaults?"), 2, 0, NO_LIMIT),
    Measure("for example", _any_of("for example"), 0.5, 0, NO_LIMIT),
    Measure("avoided", AVOIDED_WORDS, 0, 0, 0.2),
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


class AreaCount(NamedTuple):
    """The words of the texts in one part of the repository."""

    words: int
    avoided: int


def count_tree() -> dict[str, AreaCount]:
    """Return the counts of all texts, by the folder at the top of the repository."""
    words, avoided = Counter[str](), Counter[str]()
    for path in list_files():
        area = path.partition("/")[0] if "/" in path else "files at the top"
        text = read_file(path)
        words[area] += len(WORD.findall(text))
        avoided[area] += 0 if path in QUOTED else len(AVOIDED_WORDS.findall(text))
    return {area: AreaCount(words[area], avoided[area]) for area in words}


def find_avoided_words() -> Iterator[str]:
    """Return the texts of the repository with an avoided word, each with some of its context."""
    for path in list_files():
        text = "" if path in QUOTED else read_file(path)
        for match in AVOIDED_WORDS.finditer(text):
            context = text[max(0, match.start() - 40) : match.end() + 40]
            yield f"{path}: {' '.join(context.split())}"


def find_avoided_names() -> Iterator[str]:
    """Return the names of functions, classes, parameters and modules that say too little."""
    for path in (one for one in list_files() if one.endswith(".py")):
        names = [(1, Path(path).stem), *read_names((ROOT / path).read_text("utf-8"))]
        for line, name in names:
            if is_avoided_name(name) and f"{path}: {name}" not in PUBLIC_NAMES:
                yield f"{path}:{line}: {name}"


def is_avoided_name(name: str) -> bool:
    """Return whether a name is a participle or a question word, or has an avoided word in it."""
    plain = name.strip("_").lower()
    return plain in NO_NAMES or AVOIDED_WORDS.search(plain.replace("_", " ")) is not None


def main() -> None:
    """Print the avoided words of the repository, and each page's numbers per 1 000 words."""
    sys.stdout.write(f"{'whole tree':<38}{'words':>7}{'avoided':>13}\n")
    for area, found in sorted(count_tree().items()):
        sys.stdout.write(f"{area:<38}{found.words:7}{found.avoided:13}\n")
    for line in (*find_avoided_words(), *find_avoided_names()):
        sys.stdout.write(f"{line}\n")
    sys.stdout.write("\n")
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
