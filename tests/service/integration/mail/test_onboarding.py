"""The welcome and the reminder, each sent once and only to users who need it."""

import pytest

from shop import onboarding, people
from workshed.contrib import mail
from workshed.jobs import RecordMissing, Snooze


@pytest.fixture
def ada(conn):
    return people.create(conn, name="Ada Lovelace", email="ada@example.org")


@pytest.fixture
def welcomed(conn, ada):
    people.mark_welcomed(conn, ada.id, "reminder-1")
    return people.get_user(conn, ada.id)


def count(conn):
    return conn.execute("SELECT count(*) FROM workshed_mail.emails").fetchone()[0]


def test_a_welcome_is_stored_and_claimed_in_one_go(conn, ada):
    email = onboarding.claim_welcome(conn, ada.id)

    assert (email.kind, email.recipient) == ("welcome", "ada@example.org")
    assert email.subject == "Welcome to Workshed, Ada Lovelace"


def test_a_second_welcome_job_waits_for_the_first(connect, conn, ada):
    onboarding.claim_welcome(conn, ada.id)
    conn.commit()

    with pytest.raises(Snooze):
        onboarding.claim_welcome(connect(), ada.id)
    assert count(conn) == 1


def test_a_welcome_that_is_tried_again_is_the_same_mail(conn, ada):
    first = onboarding.claim_welcome(conn, ada.id)
    mail.release_claim(conn, first, state="pending", error="no connection")

    again = onboarding.claim_welcome(conn, ada.id)

    assert (again.id, again.message_id, again.attempts) == (first.id, first.message_id, 2)


def test_a_welcomed_user_is_not_welcomed_again(conn, welcomed):
    assert onboarding.claim_welcome(conn, welcomed.id) is None
    assert count(conn) == 0


@pytest.mark.parametrize("act", [onboarding.claim_welcome, onboarding.draft_reminder])
def test_an_unknown_user_gets_no_mail(conn, act):
    with pytest.raises(RecordMissing, match="user 404"):
        act(conn, 404)


def test_a_reminder_is_stored_once_however_often_the_job_runs(conn, welcomed):
    first = mail.store(conn, onboarding.draft_reminder(conn, welcomed.id))
    conn.commit()

    assert mail.store(conn, onboarding.draft_reminder(conn, welcomed.id)) == first
    assert mail.claim(conn, first).kind == "reminder"
    assert count(conn) == 1


@pytest.mark.parametrize("change", [people.mark_activated, people.mark_unsubscribed])
def test_a_user_who_returned_or_left_is_not_reminded(conn, welcomed, change):
    change(conn, welcomed.id)

    assert onboarding.draft_reminder(conn, welcomed.id) is None
    assert count(conn) == 0


def test_a_user_without_a_welcome_is_not_reminded(conn, ada):
    assert onboarding.draft_reminder(conn, ada.id) is None
