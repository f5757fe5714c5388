"""Which tokens are accepted for which user."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.strategies import text
from itsdangerous import URLSafeTimedSerializer

from workshed.contrib.notifications import TokenError, get_token_user, read_token, token, tokens
from workshed.errors import SettingsError
from workshed.secret_keys import SIGNER_OPTIONS
from workshed.settings import settings

OLD, NEW = "o" * 32, "n" * 43
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_token_says_whose_it_is(keys):
    assert get_token_user(token("7")) == "7"


def test_a_token_can_stand_in_a_url(keys):
    assert set(token("7" * 200)) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    )


def test_a_token_says_when_it_expires(keys):
    with time_machine.travel(NOON, tick=False):
        assert read_token(token("7")).expires_at == NOON + settings().token_lifetime


def test_a_token_expires(keys):
    with time_machine.travel(NOON, tick=False):
        old = token("7")

    with (
        time_machine.travel(NOON + timedelta(hours=12, seconds=1), tick=False),
        pytest.raises(TokenError, match="has expired"),
    ):
        get_token_user(old)


def test_a_token_of_another_key_is_refused(keys):
    keys(OLD)
    forged = token("7")
    keys(NEW)

    with pytest.raises(TokenError, match="invalid or incomplete"):
        get_token_user(forged)


def test_a_token_for_another_purpose_is_refused(keys):
    """Otherwise, with the same key, an unsubscribe link would open the stream."""
    other = URLSafeTimedSerializer(NEW, salt="unsubscribe", signer_kwargs=SIGNER_OPTIONS).dumps("7")

    with pytest.raises(TokenError):
        get_token_user(other)


@pytest.mark.parametrize("payload", [7, ["7"], {"user": "7"}, None, True, 7.0])
def test_a_token_that_says_something_else_is_refused(keys, payload):
    odd = URLSafeTimedSerializer(NEW, salt=tokens.PURPOSE, signer_kwargs=SIGNER_OPTIONS).dumps(
        payload
    )

    with pytest.raises(TokenError):
        get_token_user(odd)


def test_a_key_is_rotated_without_turning_a_user_away(keys):
    keys(OLD)
    before = token("7")

    keys(NEW, OLD)
    after = token("7")

    assert get_token_user(before) == "7"
    keys(NEW)
    assert get_token_user(after) == "7"


def test_spaces_between_keys_are_no_part_of_them(keys):
    made = token("7")

    keys(OLD, f" {NEW} ")

    assert get_token_user(made) == "7"


def test_without_a_key_nothing_is_signed_and_the_error_says_how_to_make_one(keys):
    keys("")

    with pytest.raises(SettingsError, match=r"WORKSHED_SECRET_KEY.*secrets\.token_urlsafe\(32\)"):
        token("7")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text())
def test_nothing_else_is_a_token_and_no_error_quotes_it(keys, given):
    with pytest.raises(TokenError) as refused:
        get_token_user(given)

    assert len(given) < 10 or given not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_token_with_any_character_changed_is_refused(keys):
    made = token("7")

    for at, letter in enumerate(made):
        other = made[:at] + ("A" if letter != "A" else "B") + made[at + 1 :]
        if other[:-1] == made[:-1]:
            continue  # the last character of base64 has unused bits
        with pytest.raises(TokenError):
            get_token_user(other)
