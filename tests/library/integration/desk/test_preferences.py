"""Preferences: a browser keeps them, and each page that it gets follows them."""

import re

import pytest

from workshed.console.web.view.preferences import CHOICES, COOKIE, choose_preferences

DARK = {"theme": "dark", "zone": "utc", "density": "dense", "keys": "off"}
DEFAULTS = {"theme": "system", "zone": "local", "density": "comfortable", "keys": "on"}


def read_preferences(answer):
    """Return the preferences of a page."""
    (tag,) = re.findall(r"<html [^>]*>", answer.text)
    return dict(re.findall(r'data-(\w+)="(\w+)"', tag))


def test_without_a_choice_there_are_defaults(operator):
    assert read_preferences(operator.get("/")) == DEFAULTS


def test_each_page_follows_them(operator):
    answer = operator.post("/preferences", DARK)

    assert (answer.status_code, answer.headers["location"]) == (303, "/preferences")
    assert read_preferences(operator.get("/")) == DARK
    assert read_preferences(operator.get("/nothing")) == DARK
    assert read_preferences(operator.post("/queues/purge", {"name": "no such queue"})) == DARK
    form = operator.get("/preferences").text
    assert re.findall(r'value="(\w+)" checked', form) == list(DARK.values())


def test_they_outlive_the_session(operator):
    operator.post("/preferences", {"theme": "dark"})

    operator.post("/logout")

    assert read_preferences(operator.get("/login"))["theme"] == "dark"


def test_a_reader_has_some_too_and_the_audit_has_none(reader, conn):
    reader.post("/preferences", {"density": "dense"})

    assert read_preferences(reader.get("/"))["density"] == "dense"
    assert conn.execute("SELECT count(*) FROM workshed.audit").fetchone() == (0,)


def test_other_browsers_have_others(browsers):
    olga, rita = browsers("olga"), browsers("rita")

    olga.post("/preferences", {"theme": "dark"})

    assert read_preferences(rita.get("/")) == DEFAULTS


@pytest.mark.parametrize(
    "evil", ['"><script>alert(1)</script>', "dark.light", "", "....", "utc" * 1000]
)
def test_a_cookie_may_say_anything(operator, evil):
    operator.client.cookies.set(COOKIE, evil)

    answer = operator.get("/")

    assert answer.status_code == 200
    assert all(value in CHOICES[name] for name, value in read_preferences(answer).items())
    assert "<script>alert" not in answer.text


def test_a_form_may_say_anything(operator):
    operator.post("/preferences", {"theme": '"><script>', "zone": "utc", "more": "dark"})

    assert read_preferences(operator.get("/")) == {**DEFAULTS, "zone": "utc"}


def test_only_a_page_of_the_console_changes_them(operator, browsers):
    stranger = browsers()

    answers = [
        operator.post("/preferences", DARK, csrf=""),
        operator.post("/preferences", DARK, origin="https://evil.example"),
        stranger.post("/preferences", DARK, csrf=stranger.csrf("/login")),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 401]
    assert not any(COOKIE in str(answer.headers) for answer in answers)
    assert read_preferences(operator.get("/")) == DEFAULTS


def test_no_value_has_two_meanings():
    values = [value for allowed in CHOICES.values() for value in allowed]

    assert len(values) == len({*values})
    assert choose_preferences(DARK.values()) == DARK
