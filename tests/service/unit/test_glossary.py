"""docs/glossary.md has a row for each outcome, in alphabetical order."""

import re

from tests import pages
from workshed.jobs.outcomes import OUTCOMES

ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in pages.text("docs/glossary.md").splitlines()
    if line.startswith("|")
]
TERMS = {row[0]: row[1] for row in ROWS[2:]}


def test_each_outcome_is_a_term_that_is_called_an_outcome():
    outcomes = [term.strip("`") for term, text in TERMS.items() if text.startswith("Outcome: ")]

    assert sorted(outcomes) == sorted(OUTCOMES)


def test_the_terms_are_alphabetical():
    listed = [term.strip("`").lower() for term in TERMS]

    assert listed == sorted(listed)


def test_each_row_has_a_meaning_and_a_column_for_each_peer():
    assert ROWS[0] == ["term", "meaning", "Sidekiq", "Celery", "Oban"]
    assert len(TERMS) == len(ROWS) - 2 > 40
    assert {len(row) for row in ROWS} == {5}


def test_each_meaning_is_one_to_three_sentences():
    sentences = {term: len(re.findall(r"[.](?: |$)", text)) for term, text in TERMS.items()}

    assert {term: count for term, count in sentences.items() if not 1 <= count <= 3} == {}
