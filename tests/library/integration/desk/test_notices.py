"""What the console answers when it has no page to show: what is missing, and where to go."""

import html
import re

import pytest

from workshed import db
from workshed.console.web import menu, notices
from workshed.console.web.pages import list_actions, list_pages

WITHOUT_FORM = [page for page in list_pages() if page.path != "/preferences"]


def heading(answer):
    return html.unescape(re.search(r"<h1>(.*?)</h1>", answer.text)[1])


def is_in_layout(answer):
    """Return whether a notice has the menu and the button to log out."""
    return 'aria-label="Pages"' in answer.text and 'action="/logout"' in answer.text


def test_an_unknown_address_leads_to_a_similar_page(reader):
    answer = reader.get("/jbos?actor=greet")

    assert answer.status_code == 404
    assert heading(answer) == "Page not found"
    assert "There is no page at /jbos (did you mean &#39;/jobs&#39;?)." in answer.text
    assert '<a href="/jobs">Jobs</a>' in answer.text
    assert "data-live" not in answer.text
    assert is_in_layout(answer)


def test_an_address_below_a_page_leads_to_this_page(reader):
    main = reader.get("/dead/nothing").text.partition("<main")[2]

    assert '<a href="/dead">Dead</a>' in main
    assert '<a href="/">Overview</a>' in main


@pytest.mark.parametrize("action", list_actions(), ids=lambda action: action.path)
def test_the_address_of_a_button_is_no_page(operator, action):
    answer = operator.get(action.path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert heading(answer) == "Not a page"
    assert f"{action.path} is the address of a button" in html.unescape(answer.text)
    assert is_in_layout(answer)


@pytest.mark.parametrize("page", WITHOUT_FORM, ids=lambda page: page.path)
def test_a_page_takes_no_form(operator, page):
    answer = operator.post(page.path)

    assert answer.status_code == 405
    assert f"{page.path} does not answer POST requests." in answer.text
    assert is_in_layout(answer)


def test_a_program_gets_the_reason_as_json(reader):
    missing = reader.client.get("/jbos.json")
    button = reader.client.get("/dead/retry", headers={"accept": "application/json"})

    assert (missing.status_code, button.status_code) == (404, 405)
    assert missing.json()["error"].startswith("There is no page at /jbos.json")
    assert "is the address of a button" in button.json()["error"]


def test_a_missing_job_is_reported_in_the_layout(reader):
    answer = reader.get("/job?id=nothing")

    assert answer.status_code == 404
    assert is_in_layout(answer)


def test_an_action_that_fails_is_reported_in_the_layout_with_its_page(operator):
    answer = operator.post("/dead/retry", {"one": "nothing"})

    assert answer.status_code == 404
    assert is_in_layout(answer)
    assert '<a href="/dead">Dead</a>' in answer.text.partition("<main")[2]


def test_a_stranger_sees_no_menu(browsers):
    answer = browsers().get("/jbos")

    assert answer.status_code == 404
    assert "There is no page at /jbos" in answer.text
    assert "<nav" not in answer.text


def test_an_address_with_a_script_stays_text(reader):
    answer = reader.get("/%3Cscript%3Ealert(1)%3C/script%3E%E2%80%AE")

    assert answer.status_code == 404
    assert "<script>alert" not in answer.text
    assert "\u202e" not in answer.text


def test_without_postgresql_an_unknown_address_is_still_explained(reader, monkeypatch):
    """The menu asks PostgreSQL which pages there are."""

    def fail():
        raise db.errors.OperationalError("away")

    monkeypatch.setattr(notices, "build_menu", fail)

    answer = reader.get("/jbos")

    assert answer.status_code == 404
    assert "There is no page at /jbos" in answer.text
    assert "<nav" not in answer.text


def test_an_outage_is_explained_without_asking_postgresql_again(reader, monkeypatch):
    def fail(*_):
        raise db.errors.OperationalError("away")

    asked = []
    monkeypatch.setattr(menu, "has_schema", fail)
    monkeypatch.setattr(notices, "build_menu", lambda: asked.append("menu"))

    answer = reader.get("/jobs")

    assert answer.status_code == 503
    assert "PostgreSQL cannot be reached" in answer.text
    assert "<nav" not in answer.text
    assert asked == []
