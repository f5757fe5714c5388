"""Signing up: what is stored, what the browser receives, and messages about mistakes."""

import time

import pytest

from tests.service.integration.shop.conftest import Browser
from workshed.contrib import notifications
from workshed.settings import settings

USERS = "SELECT name, email FROM shop.users ORDER BY id"


def test_a_new_user_is_stored_welcomed_and_shown_the_shop(jobs, browser, rows):
    assert "Sign up" in browser.see()

    page = browser.submit("/sign-up", {"name": " Ada  Lovelace ", "email": "ada@Example.org"})

    assert "<bdi>Ada Lovelace</bdi>" in page
    assert "Walnut desk" in page
    assert rows(USERS) == [("Ada Lovelace", "ada@example.org")]
    jobs.drain()
    assert [mail["To"] for mail in jobs.mailbox] == ["Ada Lovelace <ada@example.org>"]


def test_the_token_is_a_cookie_that_no_script_and_no_other_site_gets(browser, rows):
    answer = browser.post("/sign-up", {"name": "Ada", "email": "ada@example.org"})

    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("workshed_token=")
    assert "; HttpOnly; " in cookie
    assert "; Path=/; " in cookie
    assert "; SameSite=strict" in cookie
    assert answer.headers["Location"] == "./"
    ((user_id,),) = rows("SELECT id FROM shop.users")
    assert notifications.get_token_user(browser.client.cookies["workshed_token"]) == str(user_id)


def test_the_same_cookie_opens_the_pictures(ada):
    page = ada.client.get("/pictures/")

    assert page.status_code == 200
    assert "Add pictures" in page.text


def test_a_link_to_the_pictures_opens_the_shop_too(ada):
    other = Browser()

    other.see(f"/pictures/?token={ada.client.cookies['workshed_token']}")

    assert "<bdi>Ada</bdi>" in other.see("/")


@pytest.mark.parametrize("address", ["ada@example.org", "ADA@example.org"])
def test_a_taken_address_is_reported_and_nothing_is_lost(ada, rows, address):
    page = Browser().refused("/sign-up", {"name": "Bob", "email": address}, status=409)

    assert "This address is already in use." in page
    assert 'value="Bob"' in page
    assert f'value="{address}"' in page
    assert 'aria-invalid="true" aria-describedby="email-problem"' in page
    assert rows(USERS) == [("Ada", "ada@example.org")]


@pytest.mark.parametrize(
    ("name", "email", "problem"),
    [
        ("", "ada@example.org", "This name cannot be used: it is empty."),
        ("see www.example.org", "ada@example.org", "This name cannot be used: it holds a link."),
        ("Ada", "ada", "This address cannot be used: An email address must have an @-sign."),
        ("Ada", "", "This address cannot be used: An email address must have an @-sign."),
    ],
)
def test_a_mistake_is_reported_and_nothing_is_lost(browser, rows, name, email, problem):
    page = browser.refused("/sign-up", {"name": name, "email": email})

    assert problem in page
    assert f'value="{name}"' in page
    assert f'value="{email}"' in page
    assert rows(USERS) == []
    assert not browser.client.cookies


def test_input_is_shown_as_text(browser):
    given = {"name": '"><script>alert(1)</script>', "email": "<b>"}

    page = browser.post("/sign-up", given).text

    assert "<script>alert" not in page
    assert "<b>" not in page


def test_signing_out_removes_the_user(ada):
    page = ada.submit("/sign-out")

    assert "Sign up" in page
    assert not ada.client.cookies


def test_a_token_that_proves_nothing_leads_to_signing_up(browser):
    browser.client.cookies.set("workshed_token", "forged")

    assert "Your token is invalid or incomplete." in browser.see()


def test_a_deleted_user_is_asked_to_sign_up(ada, rows):
    rows("DELETE FROM shop.users RETURNING 1")

    assert "Your token belongs to a deleted user." in ada.see()
    assert ada.post("/orders", {"product": "Wall clock", "quantity": "1"}).status_code == 401


def test_an_expired_token_leads_to_signing_up(ada, monkeypatch, eventually):
    monkeypatch.setenv("WORKSHED_TOKEN_LIFETIME", "1")
    settings.cache_clear()
    signed_up_at = int(time.time())

    eventually(lambda: time.time() > signed_up_at + 2)

    assert "Your token has expired." in ada.see()


@pytest.mark.parametrize("path", ["/orders", "/imports", "/reports", "/sign-out"])
def test_a_form_without_a_token_does_nothing(browser, path):
    answer = browser.post(path, {})

    assert answer.status_code == 401
    assert "nothing was done" in answer.text
