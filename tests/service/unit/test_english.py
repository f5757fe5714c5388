"""The texts for people: README and docs speak to their reader, and no text uses private English."""

import pytest

from tools.english import (
    AVOIDED_WORDS,
    MEASURES,
    PAGE_WORDS,
    PUBLIC_NAMES,
    QUOTED,
    Count,
    add_up,
    count_pages,
    count_prose,
    find_avoided_names,
    find_avoided_words,
    find_lagging,
    is_avoided_name,
)
from tools.prose import list_files, read_file, read_prose

COUNTS = count_pages()
LAGGING: set[str] = set()
"""Pages that are still to be rewritten. Remove a page once it has reached the level."""


def test_the_pages_together_use_the_words_that_peers_use():
    together = add_up({page: one for page, one in COUNTS.items() if page not in LAGGING})

    assert together.lags(lambda measure: measure.least) == []


def test_no_page_lags_but_those_that_are_still_to_be_rewritten():
    """The difference names each page and what it misses; `python -m tools.english` has all."""
    found = find_lagging(COUNTS)

    assert {page: missed for page, missed in found.items() if page not in LAGGING} == {}
    assert LAGGING - found.keys() == set(), "these have reached the level: remove them from LAGGING"


def test_no_text_of_the_repository_has_an_avoided_word():
    """Comments, docstrings, messages, help, templates, SQL, settings of deployments, and pages."""
    assert [*find_avoided_words()] == []


def test_no_function_class_parameter_or_module_is_named_by_a_participle():
    assert [*find_avoided_names()] == []


def test_an_exception_is_removed_with_its_word():
    assert [path for path in QUOTED if not AVOIDED_WORDS.search(read_file(path))] == []
    assert {name.partition(":")[0] for name in PUBLIC_NAMES} <= set(list_files())


def test_comments_strings_and_pages_are_texts_and_code_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.prose.ROOT", tmp_path)
    texts = {
        "a.py": '"""In a docstring."""\nx = data["key"], f"in {x} a message"  # in a comment\n',
        "b.md": "On a page.\n\n```\nin code\n```\n",
        "c.sql": "SELECT 1; -- in SQL",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)

    python = read_file("a.py")

    assert all(text in python for text in ("In a docstring.", " a message", "# in a comment"))
    assert "key" not in python
    assert read_file("b.md").split() == ["On", "a", "page."]
    assert read_file("c.sql") == texts["c.sql"]


def test_a_name_is_judged_as_a_whole_and_by_its_words():
    assert all(map(is_avoided_name, ["_told", "Held", "done", "was_told", "mails_nobody"]))
    assert not any(map(is_avoided_name, ["is_done", "held_jobs", "find_holder"]))


def test_each_measure_counts_its_words():
    count = count_prose(
        "You may leave it out, by default. For example, nobody told your worker. Younger defaults."
    )

    assert count.words == 15
    assert count.hits == {"you": 2, "default": 2, "for example": 1, "avoided": 2}


@pytest.mark.parametrize(
    "left_out",
    [
        "```sh\nyou\n```",
        "1. a step:\n\n   ```\n   you\n   ```",
        "<!-- you -->",
        '<img alt="you">',
        "`you`",
        "| `you` | |",
        "https://example.org/you",
    ],
)
def test_code_and_addresses_are_no_prose(left_out):
    assert count_prose(read_prose(f"Before.\n\n{left_out}\n\nAfter.")).hits["you"] == 0


def test_the_text_of_a_link_is_prose_and_its_target_is_not():
    prose = read_prose("See [your settings](you.md#you), and stop.")

    assert count_prose(prose).hits["you"] == 1
    assert count_prose(prose).words == 5


def test_a_page_lags_if_it_misses_one_measure():
    page = {measure.name: 0 for measure in MEASURES}
    words = 2 * PAGE_WORDS

    [(name, missed)] = find_lagging({"a.md": Count(words, page)}).items()

    assert name == "a.md"
    assert missed == ["you: 0.0, should be 5 or more"]
    assert find_lagging({"short.md": Count(PAGE_WORDS, page)}) == {}
    assert find_lagging({"good.md": Count(words, page | {"you": 6})}) == {}
    assert find_lagging({"bad.md": Count(words, page | {"you": 6, "avoided": 1})}) != {}


def test_a_page_made_from_docstrings_is_judged_by_its_avoided_words_only():
    page = {measure.name: 0 for measure in MEASURES}
    listed = {"docs/reference-api.md": Count(2 * PAGE_WORDS, page)}
    poor = {"docs/reference-api.md": Count(2 * PAGE_WORDS, page | {"avoided": 1})}

    assert find_lagging(listed) == {}
    assert find_lagging(poor) == {"docs/reference-api.md": ["avoided: 1.7, should be 0.2 or less"]}
    assert add_up(listed).words == 0
