"""Cells that a spreadsheet would compute are written as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.spreadsheet_safety import escape_formula, unescape_formula

TEXTS = st.text(alphabet="a'=+-@;,\t|\r\n \uff1d", max_size=12) | st.text(max_size=12)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-Bob", "'-Bob"),
        ("@here", "'@here"),
        ("\t=1", "'\t'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("Ada;=HYPERLINK(1)", "Ada;'=HYPERLINK(1)"),
        ("'=1", "''=1"),
        ("ada@example.org", "ada@example.org"),
        ("O'Brien, Siobhan", "O'Brien, Siobhan"),
        ("Ada-Bob", "Ada-Bob"),
    ],
)
def test_no_cell_begins_as_a_formula(cell, written):
    assert escape_formula(cell) == written


@given(TEXTS)
def test_it_is_taken_away_again(cell):
    assert unescape_formula(escape_formula(cell)) == cell


@given(TEXTS)
def test_text_after_any_separator_is_no_formula(cell):
    for separator in ";,\t|\r\n":
        for part in escape_formula(cell).split(separator):
            assert not part.strip(" ").startswith(("=", "+", "-", "@"))
