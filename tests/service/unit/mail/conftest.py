"""Emails and people that were never stored."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from shop.people import User
from tests.service.variables import variable
from workshed.contrib.mail import Email
from workshed.settings import settings

SIGNED_UP = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def configure(monkeypatch):
    """Change settings for one test."""

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(variable(name), value)
        settings.cache_clear()

    change(site_url="https://app.example.org/?a=1&b=2")
    return change


@pytest.fixture
def user():
    """Make a person."""

    def make(name="Ada Lovelace", email="ada@example.org"):
        return User(
            id=7,
            name=name,
            email=email,
            created_at=SIGNED_UP,
            welcomed_at=None,
            activated_at=None,
            unsubscribed_at=None,
            reminder_id=None,
        )

    return make


@pytest.fixture
def email():
    """Make a claimed mail."""

    def make(**values):
        usual = {
            "id": 3,
            "kind": "welcome",
            "user_id": 7,
            "recipient": "ada@example.org",
            "recipient_name": "Ada Lovelace",
            "subject": "Welcome",
            "text_body": "Hello Ada\n",
            "html_body": "<p>Hello Ada</p>\n",
            "message_id": "<welcome.0123@workshed.invalid>",
            "priority": 2,
            "claim": uuid4(),
            "attempts": 1,
            "possible_duplicates": 0,
            "created_at": SIGNED_UP,
        }
        return Email(**(usual | values))

    return make
