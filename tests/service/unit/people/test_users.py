"""Which users get a reminder."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shop.people import User, is_reminder_due

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
WELCOMED = User(
    id=7,
    name="Ada",
    email="ada@example.org",
    created_at=NOW,
    welcomed_at=NOW,
    activated_at=None,
    unsubscribed_at=None,
    reminder_id="r",
)


def test_a_welcomed_user_who_did_not_return_is_reminded():
    assert is_reminder_due(WELCOMED)


@pytest.mark.parametrize(
    "change", [{"welcomed_at": None}, {"activated_at": NOW}, {"unsubscribed_at": NOW}]
)
def test_other_users_are_not_reminded(change):
    assert not is_reminder_due(replace(WELCOMED, **change))
