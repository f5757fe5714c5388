"""Credentials are hidden in texts, wherever they are written and whatever is around them."""

import string
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workshed.environment import Secret
from workshed.scrubbing import Scrubber, collect_secrets
from workshed.settings import Settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ada:hunter2@db/shop", "postgresql://ada:[redacted]@db/shop"),
        ("at amqp://ada:hunter2@a;amqp://b:hunter2@b", "at amqp://ada:[redacted]@b"),
        ("smtp://ada:hunt/er@2@mail:25", "smtp://ada:[redacted]@mail:25"),
        ("redis://:hunter2@cache/0", "redis://:[redacted]@cache/0"),
        ("https://hunter2@sentry.example/1", "https://[redacted]@sentry.example/1"),
        ("at https://a.example/?token=hunter2", "at https://a.example/?token=[redacted]"),
        ("host=db password=hunter2 user=ada", "host=db password=[redacted] user=ada"),
        (r"password='hun\'ter 2' user=ada", "password=[redacted] user=ada"),
        (r"password=hun\ ter2 user=ada", "password=[redacted] user=ada"),
        ('{"api_key": "hunter2", "n": 1}', '{"api_key": [redacted], "n": 1}'),
        (r'"{\"password\": \"hunter2\", \"n\": 1}"', r'"{\"password\": [redacted], \"n\": 1}"'),
        ("{'client_secret': 'hunter2'}", "{'client_secret': [redacted]}"),
        ("Authorization: Bearer hunter2.hunter2", "Authorization: [redacted]"),
        ("sent Bearer hunter2hunter2", "sent Bearer [redacted]"),
    ],
)  # fmt: skip
def test_a_credential_is_hidden(text, expected):
    assert Scrubber().scrub_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "mail to ada@example.org failed",
        "https://example.org/users/ada@example.org",
        "password authentication failed for user ada",
        "took 3:04, see https://example.org:8080/a?page=2",
        "failed 4 times: OSError: away",
    ],
)
def test_anything_else_stays(text):
    assert Scrubber().scrub_text(text) == text


def test_a_value_under_the_name_of_a_secret_is_hidden_at_any_depth():
    found = Scrubber().scrub({"a": [{"db_password": "hunter2", "tokens": 7}], "token": {"n": "x"}})

    assert found == {"a": [{"db_password": "[redacted]", "tokens": 7}], "token": {"n": "x"}}


def test_a_known_secret_is_hidden_anywhere_also_where_another_begins_like_it():
    scrubber = Scrubber({"hunter", "hunter22"})

    assert scrubber.scrub_text("a hunter22 and a hunter") == "a [redacted] and a [redacted]"


def test_the_secrets_of_the_settings_are_known_and_the_defaults_are_none():
    config = Settings(
        broker_url=Secret("amqp://a:first%2F@h;amqp://b:second@h"),
        smtp_url=Secret("smtps://ada:third@mail"),
        sentry_dsn=Secret("https://key@sentry.example/1"),
        database_url=Secret("postgresql://h/shop?user=ada&password=fourth"),
    )

    assert collect_secrets(config) == {"first%2F", "first/", "second", "third", "fourth"}
    assert collect_secrets(Settings()) == set()


def test_each_of_several_keys_is_a_secret():
    """A text may quote one of them without the others."""
    config = Settings(signing_keys=f"{'n' * 32}, {'o' * 32}", secret_key="k" * 32)

    assert {"n" * 32, "o" * 32, "k" * 32} <= collect_secrets(config)


passwords = st.text(string.printable, min_size=6, max_size=20).filter(
    lambda text: not set(text) & set(string.whitespace)
)


@given(passwords)
def test_whatever_a_password_is_made_of_it_is_hidden_in_a_url(password):
    assume(password not in "trying amqp://ada:[redacted]@mq.example/ again")

    assert password not in Scrubber().scrub_text(f"trying amqp://ada:{password}@mq.example/ again")


@pytest.mark.parametrize("part", ["a.", "token", "a-b", "://a:b@", "password=", "'\\"])
def test_a_long_text_is_scrubbed_quickly(part):
    """Without limits on the lengths of names and schemes this would take minutes."""
    text = part * (100_000 // len(part))
    before = time.process_time()

    Scrubber().scrub_text(text)

    assert time.process_time() - before < 2
