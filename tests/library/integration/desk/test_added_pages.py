"""Pages, actions and downloads of an application."""

import sys

import pytest

from workshed.app import APP_VARIABLE, get_app
from workshed.console.web.pages import list_modules

PAGES = """
from workshed.console.web.view.page import Action, ActionResult, Download, DownloadContent, Page

words = ["hello"]

def say(deed):
    words.append(deed.form.one("word"))
    return ActionResult("It was said.", 1, back="/parrot")

PAGES = (
    Page("/parrot", "Parrot", "birds:parrot.html", lambda ask: {"words": words}, group="Birds"),
    Page("/egg", "Egg", "birds:egg.html", lambda ask: {}, group="Birds", required_schema="birds"),
)
ACTIONS = (Action("/parrot/say", "parrot.say", say),)
FEATHER = DownloadContent("text/plain", "feather.txt", b"light")
DOWNLOADS = (Download("/feather", lambda ask: FEATHER),)
"""
TEMPLATE = """
{% extends "desk/layout.html" %}
{% block main %}<ul>{% for word in words %}<li>{{ word }}</li>{% endfor %}</ul>{% endblock %}
"""


@pytest.fixture(autouse=True)
def birds(tmp_path, monkeypatch):
    """Write an App with two pages. The second needs a schema that does not exist."""
    (tmp_path / "birds" / "templates").mkdir(parents=True)
    (tmp_path / "birds" / "__init__.py").touch()
    (tmp_path / "birds" / "pages.py").write_text(PAGES)
    (tmp_path / "birds" / "templates" / "parrot.html").write_text(TEMPLATE)
    (tmp_path / "zoo.py").write_text(
        "import workshed\napp = workshed.App(pages=('birds.pages',))\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv(APP_VARIABLE, "zoo:app")
    get_app.cache_clear()
    list_modules.cache_clear()
    yield
    get_app.cache_clear()
    list_modules.cache_clear()
    for name in ("zoo", "birds.pages", "birds"):
        sys.modules.pop(name, None)


def test_a_page_is_in_the_menu_and_shows_its_data(reader):
    assert ">Parrot</a>" in reader.get("/").text
    assert "<li>hello</li>" in reader.get("/parrot").text
    assert reader.json("/parrot") == {"words": ["hello"]}


def test_a_page_whose_schema_is_missing_is_missing_too(reader):
    assert ">Egg</a>" not in reader.get("/").text
    assert reader.get("/egg").status_code == 404


def test_an_action_is_for_operators_with_a_token_and_is_audited(operator, reader, conn):
    assert operator.submit("/parrot/say", {"word": "<b>"}) == "It was said."
    assert "<li>&lt;b&gt;</li>" in operator.get("/parrot").text
    noted = conn.execute(
        "SELECT performed_by, action FROM workshed.audit WHERE action LIKE 'parrot%'"
    )
    assert noted.fetchall() == [("olga", "parrot.say")]

    assert reader.post("/parrot/say", {"word": "no"}).status_code == 403
    assert operator.post("/parrot/say", {"word": "no"}, csrf="another").status_code == 403


def test_a_download_needs_a_login(reader, browsers):
    assert reader.get("/feather").content == b"light"
    assert browsers().get("/feather").status_code == 303


def test_the_pages_of_the_sample_application_are_missing(reader):
    assert reader.get("/campaigns").status_code == 404
