"""Which worker may send an email, and when."""

import logging
import threading
from datetime import timedelta

import pytest
from psycopg.errors import LockNotAvailable

from shop import onboarding, people
from workshed.contrib import mail
from workshed.contrib.mail.protocol import deadline
from workshed.jobs import RecordMissing, Snooze


@pytest.fixture
def email_id(conn):
    found = mail.store(conn, mail.Draft("alert", "ops@example.org", "", "Down", "It is down"))
    conn.commit()
    return found


def test_a_mail_is_claimed_by_one_worker(connect, email_id):
    first, second = connect(), connect()

    email = mail.claim(first, email_id)
    first.commit()

    assert email.recipient == "ops@example.org"
    with pytest.raises(Snooze):
        mail.claim(second, email_id)


def test_a_snooze_lasts_until_the_claim_ends(connect, email_id, configure):
    configure(smtp_timeout="10")
    first, second = connect(), connect()
    mail.claim(first, email_id)
    first.commit()

    with pytest.raises(Snooze) as snoozed:
        mail.claim(second, email_id)

    assert timedelta(seconds=10) < snoozed.value.delay <= timedelta(seconds=60)


def test_a_claim_is_over_soon_where_its_worker_has_died(conn, email_id):
    """A claim is short because workers renew it during a delivery of up to 25 minutes."""
    mail.claim(conn, email_id)

    left = "SELECT claimed_until - workshed.now() FROM workshed_mail.emails"
    assert (
        conn.execute(left).fetchone()[0] <= deadline.LONGEST_CLAIM < deadline.longest_delivery(None)
    )


def test_two_workers_at_the_same_moment_get_one_claim(connect, email_id):
    first, second = connect(), connect()
    outcome = []

    def claim_too():
        try:
            outcome.append(mail.claim(second, email_id))
        except Snooze:
            outcome.append("snoozed")

    email = mail.claim(first, email_id)
    other = threading.Thread(target=claim_too)
    other.start()  # waits for the row
    first.commit()
    other.join()

    assert email is not None
    assert outcome == ["snoozed"]


def test_a_claim_that_rolled_back_leaves_the_mail_to_others(connect, email_id):
    first, second = connect(), connect()

    mail.claim(first, email_id)
    first.rollback()

    assert mail.claim(second, email_id).attempts == 1


def test_a_claim_that_ran_out_is_taken_over_and_counted(conn, email_id, run_out, caplog):
    lost = mail.claim(conn, email_id)
    conn.commit()
    run_out(email_id)

    with caplog.at_level(logging.WARNING):
        taken = mail.claim(conn, email_id)

    assert (taken.possible_duplicates, taken.attempts) == (1, 2)
    assert taken.message_id == lost.message_id
    assert taken.claim != lost.claim
    assert f"mail {email_id} may have arrived before" in caplog.text


def test_a_first_claim_is_not_ambiguous(conn, email_id, caplog):
    assert mail.claim(conn, email_id).possible_duplicates == 0
    assert not caplog.records


def test_only_the_holder_marks_a_mail_as_sent(conn, email_id, run_out, row):
    lost = mail.claim(conn, email_id)
    conn.commit()
    run_out(email_id)
    taken = mail.claim(conn, email_id)

    assert not mail.mark_sent(conn, lost)
    assert mail.mark_sent(conn, taken)
    conn.commit()
    assert row(email_id).state == "sent"


def test_a_holder_whose_claim_ran_out_is_still_the_holder_until_it_is_taken(
    conn, email_id, run_out
):
    email = mail.claim(conn, email_id)
    conn.commit()
    run_out(email_id)

    assert mail.mark_sent(conn, email)


def test_only_the_holder_gives_a_claim_back(conn, email_id, run_out):
    lost = mail.claim(conn, email_id)
    conn.commit()
    run_out(email_id)
    mail.claim(conn, email_id)

    assert not mail.release_claim(conn, lost, state="failed", error="too late")


def test_a_mail_given_back_is_claimed_at_once_and_is_not_ambiguous(conn, email_id):
    email = mail.claim(conn, email_id)
    mail.release_claim(conn, email, state="pending", error="no connection")

    assert mail.claim(conn, email_id).possible_duplicates == 0


def test_a_mail_of_unknown_fate_is_sent_again_and_counted(conn, email_id):
    email = mail.claim(conn, email_id)
    mail.release_claim(conn, email, state="unknown", error="no reply")

    again = mail.claim(conn, email_id)

    assert again.possible_duplicates == 1
    assert again.message_id == email.message_id


def test_a_mail_that_was_sent_is_not_claimed(conn, email_id):
    mail.mark_sent(conn, mail.claim(conn, email_id))

    assert mail.claim(conn, email_id) is None


def test_a_mail_that_failed_is_claimed_by_a_job_that_was_revived(conn, email_id):
    """Otherwise a dead job, retried after its cause was fixed, would succeed without sending."""
    mail.release_claim(conn, mail.claim(conn, email_id), state="failed", error="mailbox full")

    assert mail.claim(conn, email_id).possible_duplicates == 0


def test_a_mail_that_is_not_there_is_missing(conn):
    with pytest.raises(RecordMissing, match="email 404"):
        mail.claim(conn, 404)


def deleted_by_the_database(conn, user_id):
    conn.execute("DELETE FROM shop.users WHERE id = %s", (user_id,))


@pytest.mark.parametrize("delete", [deleted_by_the_database, mail.delete_of])
def test_a_mail_to_a_deleted_user_is_gone(conn, delete):
    user = people.create(conn, name="Ada", email="ada@example.org")
    email = onboarding.claim_welcome(conn, user.id)
    delete(conn, str(user.id))

    assert not mail.mark_sent(conn, email)
    with pytest.raises(RecordMissing, match="email"):
        mail.claim(conn, email.id)


def test_mails_to_others_stay(conn):
    mail.store(conn, mail.Draft("alert", "ops@example.org", "", "Down", "It is down"))
    mail.store(conn, mail.Draft("hello", "a@example.org", "", "Hi", "Hi", user_id="a"))

    assert mail.delete_of(conn, "a") == 1
    assert mail.delete_of(conn, "a") == 0
    assert conn.execute("SELECT kind FROM workshed_mail.emails").fetchall() == [("alert",)]


def test_a_user_cannot_be_deleted_while_a_mail_to_them_is_stored(connect):
    """Otherwise the email would reach a deleted user, because there is no foreign key to users."""
    storing, deleting = connect(), connect()
    user = people.create(storing, name="Ada", email="ada@example.org")
    storing.commit()
    onboarding.claim_welcome(storing, user.id)
    deleting.execute("SET lock_timeout = '200 ms'")

    with pytest.raises(LockNotAvailable):
        deleting.execute("DELETE FROM shop.users")


def test_the_same_mail_is_stored_once(conn):
    draft = mail.Draft("alert", "ops@example.org", "", "Down", "It is down", about="03-01")

    assert mail.store(conn, draft) == mail.store(conn, draft)


def test_two_that_store_the_same_mail_at_once_store_one(connect):
    first, second = connect(), connect()
    draft = mail.Draft("alert", "ops@example.org", "", "Down", "It is down", about="03-01")
    ids = [mail.store(first, draft)]

    other = threading.Thread(target=lambda: ids.append(mail.store(second, draft)))
    other.start()  # waits for the first transaction
    first.commit()
    other.join()

    assert ids[0] == ids[1]
