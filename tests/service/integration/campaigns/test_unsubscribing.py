"""The unsubscribe page: its button and that of a mail program work, and nothing else."""

import re

import pytest

from shop import people
from shop.people import UnsubscribeTokenError, unsubscribe_links
from tests.service.integration.notifications.conftest import serve
from tests.service.integration.notifications.served import Served
from workshed import db
from workshed.contrib import notifications
from workshed.errors import SettingsError
from workshed.settings import settings

pytestmark = pytest.mark.one_in(3)  # each test starts its own programs

__all__ = ["serve"]

ONE_CLICK = "List-Unsubscribe=One-Click"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def ada(database):
    with db.transaction() as conn:
        return people.create(conn, name="Ada", email="ada@example.org").id


@pytest.fixture
def page(serve) -> Served:
    return serve("-m", "tests.service.integration.campaigns.serving")


def is_out(user_id):
    with db.transaction() as conn:
        return people.get_user(conn, user_id).unsubscribed_at is not None


def path_of(user_id):
    return f"/unsubscribe/{unsubscribe_links.sign_token(user_id)}"


def test_looking_at_the_link_changes_nothing(page, ada):
    """Security scanners open each link of an email."""
    status, headers, body = page.ask(path_of(ada))

    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "ada@example.org" in body.decode()
    assert '<form method="post">' in body.decode()
    assert not is_out(ada)


@pytest.mark.parametrize("body", [ONE_CLICK, ""])
def test_the_button_of_the_page_and_that_of_a_mail_program_unsubscribe(page, ada, body):
    """RFC 8058: a POST of this form without cookies, and no redirect in the answer."""
    for _ in range(2):
        status, headers, text = page.ask(path_of(ada), method="POST", body=body, **FORM)

        assert (status, headers["Location"]) == (200, None)
        assert "You are unsubscribed" in text.decode()
        assert is_out(ada)


def test_the_page_says_so_afterwards(page, ada):
    page.ask(path_of(ada), method="POST")

    _, _, body = page.ask(path_of(ada))

    assert "You are unsubscribed" in body.decode()
    assert "<form" not in body.decode()


def test_the_page_has_its_style(page, ada):
    _, _, body = page.ask(path_of(ada))
    sheet = re.search(r'rel="stylesheet" href="([^"]+)"', body.decode())[1]

    assert page.ask(f"/unsubscribe/{sheet}")[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_invalid_link_unsubscribes_no_one(page, ada, method):
    token = unsubscribe_links.sign_token(ada)
    wrong = [
        token[:-1],
        "x" + token,
        unsubscribe_links.sign_token(ada + 1),
        notifications.token(ada),
        "%00",
        "a" * 5000,
    ]

    for one in wrong:
        status, _, body = page.ask(f"/unsubscribe/{one}", method=method, Accept="text/html")
        assert status == 404
        assert "This link does not work" in body.decode()
    assert not is_out(ada)


def test_a_link_is_not_in_the_log(page, ada):
    """A link is valid as long as the keys are."""
    page.ask(path_of(ada))
    page.ask(f"{path_of(ada)}?a=1", method="POST")

    assert '"GET /unsubscribe/*** ' in page.text()
    assert '"POST /unsubscribe/***?a=1 ' in page.text()
    assert unsubscribe_links.sign_token(ada) not in page.text()


def test_an_unsubscribed_user_is_not_reminded(page, ada):
    """This is the same as with any other way to unsubscribe."""
    page.ask(path_of(ada), method="POST")

    with db.transaction() as own:
        assert not people.is_reminder_due(people.get_user(own, ada))


def test_links_hold_when_a_new_key_signs(configured):
    old, token = settings().secret_key.get_secret_value(), unsubscribe_links.sign_token(7)

    configured(secret_key=f"{'n' * 40},{old}")

    assert unsubscribe_links.read_token(token) == 7
    assert unsubscribe_links.sign_token(7) != token


def test_without_a_key_no_link_can_be_made(configured):
    configured(secret_key="")

    with pytest.raises(SettingsError, match="WORKSHED_SECRET_KEY is not set"):
        unsubscribe_links.build_link(1)


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("https://example.org", "https://example.org/unsubscribe/"),
        ("https://example.org/app/", "https://example.org/app/unsubscribe/"),
        ("https://example.org/?a=1&b=2#c", "https://example.org/unsubscribe/"),
    ],
)
def test_the_link_is_below_the_site(configured, site, expected):
    configured(site_url=site)

    assert unsubscribe_links.build_link(7) == expected + unsubscribe_links.sign_token(7)


def test_a_token_of_another_purpose_is_invalid(configured):
    with pytest.raises(UnsubscribeTokenError):
        unsubscribe_links.read_token(notifications.token(7))
