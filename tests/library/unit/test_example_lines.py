"""The page of the examples: its code is theirs, and its table counts all of their jobs."""

import pytest

from tests import pages
from tools import example_lines
from tools.example_lines import EXAMPLES, PORTS, ROWS

PAGE = "docs/examples/README.md"
JOBS = '''"""The jobs."""

import csv
from workshed import actor

broker.defaults(
    once=True,
)
AT_ONCE = 100
"""A number."""


@actor()
# A comment.
def greet():
    """Greet.

    Idempotent: no.
    """
    with csv:

        return 1
'''
PARTS = pages.files(PAGE, "part")


def test_the_table_is_that_of_the_code():
    """After a change of an example: `python -m tools.example_lines`."""
    assert example_lines.render_table() in pages.text(PAGE)


@pytest.mark.parametrize("file", PORTS, ids=lambda file: file.parent.name)
def test_every_line_of_the_jobs_is_counted_once(file):
    counts = example_lines.count_port(file)

    assert sorted(counts) == sorted(part for row in ROWS for part in row.ports)


def test_a_line_counts_unless_it_is_blank_a_comment_an_import_or_a_docstring(tmp_path):
    file = tmp_path / "jobs.py"
    file.write_text(JOBS)

    assert example_lines.count_port(file) == {"broker.defaults": 3, "AT_ONCE": 1, "greet": 4}


def test_every_class_of_rails_is_counted_once():
    assert sorted(example_lines.read_rails()) == sorted(
        ["sidekiq.yml", *(part for row in ROWS for part in row.rails)]
    )


@pytest.mark.parametrize("name", PARTS)
def test_the_page_shows_the_code_of_the_examples(name):
    assert PARTS[name] in (EXAMPLES / name).read_text("utf-8")
