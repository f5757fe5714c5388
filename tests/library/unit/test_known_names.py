"""Filters match names in full, or by their beginning."""

import pytest
import typer
from hypothesis import given
from hypothesis.strategies import lists, sampled_from, text

from workshed.console.operations.history import parse_argument_filter
from workshed.console.web.view.known_names import describe_match, match_names

ACTORS = ["charge", "charge_card", "charge_refund", "ship"]
names = text("ab._", min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ship", ["ship"]),
        ("sh", ["sh", "ship"]),
        ("charge", ["charge"]),
        ("charge*", ["charge", "charge_card", "charge_refund"]),
        ("char", ["char", "charge", "charge_card", "charge_refund"]),
        ("char*", ["charge", "charge_card", "charge_refund"]),
        ("harge", ["harge"]),
        ("ship*", ["ship"]),
        ("*", ACTORS),
    ],
)
def test_a_text_selects_the_name_that_it_is_or_also_those_that_begin_with_it(text, found):
    """A name that is not known selects itself, too: its jobs may be of another program."""
    assert match_names(text, reversed(ACTORS)).names == found


def test_a_class_is_found_by_its_name_without_the_module():
    known = ["GatewayError", "shop.GatewayError", "shop.Gone", "Gone"]

    assert match_names("Gateway*", known).names == ["GatewayError", "shop.GatewayError"]
    assert match_names("shop.G*", known).names == ["shop.GatewayError", "shop.Gone"]
    assert match_names("Gone", known).names == ["Gone"]
    assert match_names("Gone*", known).names == ["Gone", "shop.Gone"]


@given(names, lists(names))
def test_each_known_name_selects_itself_alone(name, others):
    match = match_names(name, [*others, name])

    assert (match.names, match.begins, match.is_known) == ([name], None, True)


@given(names, lists(sampled_from(ACTORS)))
def test_each_selected_name_is_known_or_is_the_text(text, known):
    match = match_names(text, known)

    assert set(match.names) <= {*known, text}
    assert match.names
    assert match.is_known == any(
        part.startswith(text) for one in known for part in (one, *one.split("."))
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ship", None),
        ("shi", "Matches ship."),
        ("charge", "charge* also matches 2 more."),
        ("charg", "Matches charge, charge_card, charge_refund."),
        ("shop", "No known actor begins with this (did you mean 'ship'?)."),
        ("nothing like it", "No known actor begins with this."),
    ],
)
def test_a_note_says_what_a_text_matches(text, said):
    assert describe_match("known actor", match_names(text, ACTORS), ACTORS) == said


def test_a_note_lists_few_names():
    known = [f"job_{number}" for number in range(8)]

    said = describe_match("known actor", match_names("job", known), known)

    assert said == "Matches job_0, job_1, job_2, job_3, job_4 and 3 more."


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("6120", None, 6120),
        ('"6120"', None, "6120"),
        ("card", None, "card"),
        ("order_id=6120", "order_id", 6120),
        ('order_id="6120"', "order_id", "6120"),
        ("note=a=b", "note", "a=b"),
        ('"a=b"', None, "a=b"),
        ("null", None, None),
        (r'"\\u0000"', None, r"\u0000"),
    ],
)
def test_an_argument_is_compared_by_its_name_or_any_by_its_value(text, name, value):
    found = parse_argument_filter(text)

    assert (found.name, found.value) == (name, value)


@pytest.mark.parametrize("text", ["[7]", '{"a": 7}'])
def test_a_list_or_an_object_needs_the_name_of_its_argument(text):
    with pytest.raises(typer.BadParameter, match="write NAME="):
        parse_argument_filter(text)

    assert parse_argument_filter(f"a={text}").name == "a"
