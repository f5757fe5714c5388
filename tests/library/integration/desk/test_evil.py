"""Input from outside stays text, on every page."""

import html
import re
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from tests.library.integration.desk.conftest import PEOPLE, begin_session
from tests.library.integration.desk.planted import EVIL, NOW, SHORT, UUID, plant, plant_mail
from workshed.console.web.pages import list_pages
from workshed.jobs.control import audit
from workshed.jobs.control.console_sessions import SessionOrigin
from workshed.settings import settings

DETAILS = {
    "/job": f"id={quote(EVIL)}",
    "/batch": f"id={UUID}",
    "/import": "id=1",
    "/campaign": "id=1",
    "/report": f"date={NOW.date()}",
    "/mail/one": "id=evil",
}
"""Queries of pages about a single thing."""
WITH_DATA = [page for page in list_pages() if page.path != "/preferences"]
SCRIPT = re.compile(r"^/static/[0-9a-f]{12}/(console|keys|live|morph|search)\.js$")
VALUE = re.compile(r'(value|data-id)="[^"]*"')
"""Attributes that stay unchanged, because they are not displayed."""
SAFE_LINK = re.compile(r"^(/|\?|#|https?://)")


class Elements(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.wrong = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "script" and not SCRIPT.match(given.get("src", "")):
            self.wrong.append((tag, attrs))
        if tag in ("img", "object", "embed", "base", "style"):
            self.wrong.append((tag, attrs))
        for name, value in attrs:
            is_link = name in ("href", "src", "action", "formaction")
            if name.startswith("on") or name == "style":
                self.wrong.append((tag, attrs))
            if is_link and not SAFE_LINK.match(value or ""):
                self.wrong.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


def read(text):
    """Parse a page."""
    found = Elements()
    found.feed(text)
    return found


@pytest.fixture
def planted(conn, people, tmp_path, monkeypatch):
    """A row of every table with evil in all its texts, and a mail."""
    plant(conn)
    for name in PEOPLE:
        begin_session(name, SessionOrigin(EVIL, EVIL))
    plant_mail(tmp_path)
    monkeypatch.setenv("WORKSHED_SMTP_URL", f"maildir:{tmp_path}")
    settings.cache_clear()


@pytest.mark.sample(6)
@pytest.mark.parametrize("page", WITH_DATA, ids=lambda page: page.path)
def test_evil_stays_text(planted, operator, broker, page):
    answer = operator.get(f"{page.path}?{DETAILS.get(page.path, '')}")

    assert answer.status_code == 200, answer.text
    found = read(answer.text)
    assert found.wrong == []
    seen = VALUE.sub("", answer.text)
    assert "\x1b" not in seen
    assert "\u202e" not in seen
    assert SHORT in found.text, "no evil text is shown, so nothing was tested"


@pytest.mark.sample(6)
@pytest.mark.parametrize("page", WITH_DATA, ids=lambda page: page.path)
def test_programs_get_the_text_unchanged(planted, reader, broker, page):
    """In the JSON of each page, for readers, nothing is escaped and nothing is left out."""
    data = reader.json(f"{page.path}?{DETAILS.get(page.path, '')}")

    assert any(SHORT in text for text in every_text(data))


def every_text(value):
    """Return all texts in a JSON value."""
    match value:
        case str():
            return [value]
        case dict():
            return [text for one in (*value, *value.values()) for text in every_text(one)]
        case list():
            return [text for one in value for text in every_text(one)]
    return []


def test_evil_in_an_address_stays_text(operator, broker):
    for page in list_pages():
        for name in (
            "id",
            "actor",
            "queue",
            "error",
            "tag",
            "since",
            "before",
            "user",
            "done",
            "x",
        ):
            answer = operator.get(f"{page.path}?{name}={quote(EVIL)}")
            assert read(answer.text).wrong == [], (page.path, name)
            assert answer.status_code in (200, 400, 404), (page.path, name, answer.text)


def test_evil_in_the_audit_stays_text_in_the_message(operator, conn):
    number = audit.record_entry(
        conn, performed_by=EVIL, action=EVIL, details={EVIL: EVIL}, count=1, summary=EVIL
    )

    operator.client.cookies.set(f"workshed_console_done_{number}", "1")

    answer = operator.get(f"/audit?done={number}")

    found = read(answer.text)
    assert found.wrong == []
    assert html.escape(SHORT, quote=False) in answer.text.replace("&#34;", '"').replace(
        "&#39;", "'"
    )


def test_the_parser_finds_evil():
    """Markup that is not escaped is found."""
    assert len(read(EVIL).wrong) >= 2
    assert read("<a href='javascript:alert(1)'>x</a>").wrong
    assert read("<p style='x'>").wrong
