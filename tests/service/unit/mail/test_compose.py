"""The texts of the emails, which no user's name can change."""

import html
import re
import unicodedata

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis.strategies import characters, text
from jinja2 import UndefinedError

from shop import compose
from shop.people import InvalidNameError, names

KINDS = [compose.write_welcome, compose.write_reminder]
NAMES = ["Ada", "Zoë O'Brien", "שרה כהן", "محمد", "王小明", "<b>Bob</b> & Co"]


def words(markup):
    """Return the visible text of the HTML part, without direction marks."""
    body = re.sub(r"<head>.*?</head>|</?(bdi|a)\b[^>]*>", "", markup, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def visible(plain):
    return " ".join("".join(c for c in plain if c not in "\u2068\u2069").split())


@pytest.mark.parametrize("write", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_both_parts_say_the_same(write, name, user):
    draft = write(user(name))

    for paragraph in draft.text_body.split("\n\n"):
        said, _, link = visible(paragraph).partition(": https")  # in HTML, the link is a button
        assert said in words(draft.html_body)
        assert link in words(draft.html_body)


@pytest.mark.parametrize("write", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_subject_has_the_name(write, name, user):
    assert visible(name) in visible(write(user(name)).subject)


@pytest.mark.parametrize("write", KINDS)
def test_the_longest_name_leaves_a_subject_of_one_header_line(write, user):
    assert len(write(user("a" * names.MAX_LENGTH)).subject) < 78


@pytest.mark.parametrize("write", KINDS)
def test_a_name_is_text_and_never_markup(write, user):
    draft = write(user('<img src=x onerror="alert(1)">'))

    assert "<img" not in draft.html_body
    assert "&lt;img" in draft.html_body
    assert "<img" in draft.text_body


@pytest.mark.parametrize("write", KINDS)
def test_a_right_to_left_name_does_not_reorder_its_neighbours(write, user):
    draft = write(user("שרה"))

    assert '<bdi dir="auto">שרה</bdi>' in draft.html_body
    assert "\u2068שרה\u2069" in draft.subject
    assert "\u2068שרה\u2069" in draft.text_body


@pytest.mark.parametrize("write", KINDS)
def test_links_lead_to_the_site(write, user):
    draft = write(user())

    links = re.findall(r'href="([^"]*)"', draft.html_body)

    assert {html.unescape(link) for link in links} == {"https://app.example.org/?a=1&b=2"}
    assert "https://app.example.org/?a=1&b=2" in draft.text_body


@pytest.mark.parametrize("write", KINDS)
def test_styles_are_inline_and_dark_colours_are_kept(write, user):
    page = write(user()).html_body

    assert 'style="margin: 0 0 16px' in page
    assert "@media (prefers-color-scheme: dark)" in page


@pytest.mark.parametrize("write", KINDS)
def test_nothing_is_loaded_from_elsewhere(write, user):
    page = write(user()).html_body

    assert not re.findall(r"<(?:img|link|script|iframe)|url\(|@import", page)


def test_the_product_is_named_as_the_sender_is(user, configure):
    configure(mail_from="Acme <hello@acme.example>")

    draft = compose.write_welcome(user())

    assert draft.subject == "Welcome to Acme, Ada Lovelace"
    assert "Your account at Acme is ready" in draft.text_body


def test_a_value_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError):
        compose.render_template("welcome.txt", {"name": "Ada"})


@given(text(characters(), min_size=1, max_size=100))
@hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_name_the_subject_is_one_short_line(user, name):
    try:
        stored = names.normalize(name)
    except InvalidNameError:
        return

    for write in KINDS:
        subject = write(user(stored)).subject

        assert len(subject.splitlines()) == 1
        assert len(subject) <= 78
        assert not any(unicodedata.category(c) == "Cc" for c in subject)
