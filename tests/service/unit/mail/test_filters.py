"""Names inside subject lines."""

from hypothesis import given
from hypothesis.strategies import characters, text

from workshed.contrib.mail.filters import NAME_IN_SUBJECT, isolate_name, shorten_name


def test_a_name_that_fits_stays_whole():
    assert shorten_name("a" * NAME_IN_SUBJECT) == "a" * NAME_IN_SUBJECT


def test_a_long_name_is_cut_at_a_space():
    long = "Pablo Diego José Francisco de Paula Juan Nepomuceno"

    assert shorten_name(long) == "Pablo Diego José Francisco de Paula…"


def test_a_letter_keeps_its_accents():
    long = "a" * (NAME_IN_SUBJECT - 2) + "e\u0323\u0302" + "b" * 10

    assert shorten_name(long) == "a" * (NAME_IN_SUBJECT - 2) + "…"


def test_a_family_is_not_torn_apart():
    long = "a" * (NAME_IN_SUBJECT - 3) + "👩\u200d👧\u200d👦" + "b" * 10

    assert shorten_name(long) == "a" * (NAME_IN_SUBJECT - 3) + "…"


@given(text(characters(codec="utf-8"), min_size=1, max_size=200))
def test_a_shortened_name_fits_and_is_not_empty(name):
    assert 1 <= len(shorten_name(name)) <= NAME_IN_SUBJECT


def test_a_name_from_right_to_left_is_fenced():
    assert isolate_name("שרה") == "\u2068שרה\u2069"


def test_a_name_from_left_to_right_has_no_invisible_characters():
    assert isolate_name("Zoë 王") == "Zoë 王"
