"""Names of products in mails."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis.strategies import characters, text

from shop.reports.mail import MAX_NAME_LENGTH, format_product_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Desk", "Desk"),
        ("two\r\nlines\u2028and\tmore  ", "two lines and more"),
        ("\n", "(no name)"),
        ("\u202eevil", "evil"),
        ("مكتب", "مكتب"),
        ("x" * 10_000, "x" * (MAX_NAME_LENGTH - 1) + "…"),
    ],
)
def test_a_name_is_one_short_line(name, expected):
    assert format_product_name(name) == expected


@given(text(characters(codec="utf-8"), min_size=1))
def test_whatever_the_name_it_is_one_short_line(name):
    shown = format_product_name(name)

    assert 1 <= len(shown) <= MAX_NAME_LENGTH
    assert len(shown.splitlines()) == 1
    assert not any(unicodedata.category(c) == "Cc" for c in shown)
