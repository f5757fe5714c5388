"""The actors that send emails, with the middleware around a job."""

from datetime import timedelta

import pytest

import actors
from actors import deliver_email, send_onboarding_reminder, send_welcome_email
from shop import onboarding, people
from workshed import db
from workshed.contrib import mail


@pytest.fixture
def sign_up(jobs):
    """`sign_up("ada@example.org")`: create a user and enqueue the welcome."""

    def sign_up(email="ada@example.org"):
        with db.transaction() as conn:
            return actors.sign_up(conn, name="Ada", email=email)

    return sign_up


@pytest.fixture
def row(jobs):
    """Override: read the row from the kit's database."""

    def read(kind="welcome"):
        query = (
            "SELECT state, possible_duplicates, message_id "
            "FROM workshed_mail.emails WHERE kind = %s"
        )
        with db.transaction() as conn:
            return conn.execute(query, (kind,)).fetchone()

    return read


def find(user):
    with db.transaction() as conn:
        return people.get_user(conn, user.id)


def subjects(jobs):
    return [message["Subject"] for message in jobs.mailbox]


def test_a_sign_up_becomes_a_mail_and_a_reminder(jobs, sign_up):
    now = jobs.freeze()
    user = sign_up()

    jobs.drain()

    assert subjects(jobs) == ["Welcome to Workshed, Ada"]
    assert find(user).welcomed_at == now
    reminder = jobs.assert_enqueued(send_onboarding_reminder, user.id, in_=timedelta(days=3))
    assert find(user).reminder_id == reminder.message_id


def test_a_rolled_back_sign_up_sends_nothing(jobs):
    with db.transaction() as conn:
        actors.sign_up(conn, name="Ghost", email="ghost@example.org")
        conn.rollback()

    jobs.refute_enqueued(send_welcome_email)


def test_a_welcome_that_comes_twice_is_one_mail(jobs, sign_up):
    user = sign_up()
    jobs.drain()

    jobs.perform(send_welcome_email, user.id)

    assert len(jobs.mailbox) == 1
    jobs.assert_enqueued(send_onboarding_reminder, times=1)


def test_a_welcome_for_a_deleted_user_is_discarded(jobs, sign_up):
    user = sign_up()
    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.users")

    with jobs.expect_discard(f"user {user.id} does not exist"):
        jobs.drain()

    assert jobs.mailbox == []


@pytest.mark.parametrize("act", [actors.activate_user, actors.unsubscribe_user])
def test_a_reminder_that_waits_is_cancelled(jobs, sign_up, act):
    user = sign_up()
    jobs.drain()

    with db.transaction() as conn:
        act(conn, user.id)

    assert jobs.enqueued == []


def test_a_reminder_is_sent_after_three_days(jobs, sign_up):
    sign_up()
    jobs.drain()

    jobs.advance(days=3)
    assert jobs.drain() == 2  # the reminder, and the job that delivers its mail

    assert len(jobs.mailbox) == 2


def test_a_reminder_that_comes_twice_is_one_mail(jobs, sign_up):
    user = sign_up()
    jobs.drain()

    for _ in range(2):
        jobs.perform(send_onboarding_reminder, user.id)
        jobs.drain()

    assert len(jobs.mailbox) == 2


def test_a_reminder_goes_with_the_priority_of_single_mails(jobs, sign_up):
    user = sign_up()
    jobs.drain()

    jobs.perform(send_onboarding_reminder, user.id)

    jobs.assert_enqueued(deliver_email, queue="emails", priority=mail.SINGLE)


def test_an_unneeded_reminder_is_discarded_with_its_reason(jobs, sign_up):
    user = sign_up()
    jobs.drain()
    with db.transaction() as conn:
        people.mark_activated(
            conn, user.id
        )  # without cancelling, as if the job was already under way

    jobs.advance(days=3)
    with jobs.expect_discard(f"user {user.id} no longer needs a reminder"):
        jobs.drain()

    assert len(jobs.mailbox) == 1


def test_a_mail_that_another_worker_sends_waits_for_its_claim(jobs, sign_up):
    user = sign_up()
    with db.transaction() as conn:
        claimed = onboarding.claim_welcome(conn, user.id)

    jobs.drain()

    assert jobs.mailbox == []
    (waiting,) = jobs.scheduled
    assert waiting.delay > timedelta(seconds=30)
    jobs.advance(seconds=waiting.delay.total_seconds())
    jobs.drain()
    assert jobs.mailbox[0]["Message-ID"] == claimed.message_id


# Replies of the mail server and their effect on a job


def test_a_busy_server_gets_the_mail_at_the_next_attempt(jobs, sign_up, mail_server, row):
    mail_server.refuse_with(451, "ada@example.org")
    sign_up()

    with jobs.expect_retry(after=timedelta(seconds=15)):
        jobs.drain()
    mail_server.clear_faults()
    jobs.advance(seconds=15)
    jobs.drain()

    assert row()[:2] == ("sent", 0)
    assert len(mail_server.received) == 1


def test_a_refused_address_dies_at_once(jobs, sign_up, mail_server, row):
    mail_server.refuse_with(550, "ada@example.org")
    sign_up()

    with pytest.raises(mail.RecipientRejectedError):
        jobs.drain()

    assert [dead.error_class for dead in jobs.dead] == ["RecipientRejectedError"]
    assert row()[0] == "failed"


def test_a_server_that_never_answers_costs_an_attempt(jobs, sign_up, mail_server, row, configure):
    configure(smtp_timeout="0.5")
    mail_server.stall_at("rcpt")
    sign_up()

    with jobs.expect_retry(after=timedelta(seconds=15)):
        jobs.drain()
    mail_server.clear_faults()
    configure(smtp_timeout="60")
    jobs.advance(seconds=15)
    jobs.drain()

    assert row()[:2] == ("sent", 0)
    assert len(mail_server.received) == 1


def test_a_server_that_closes_after_data_gets_the_same_mail_again_and_it_is_counted(
    jobs, sign_up, mail_server, row
):
    mail_server.close_after_dot()
    sign_up()

    with jobs.expect_retry():
        jobs.drain()
    mail_server.clear_faults()
    jobs.advance(seconds=15)
    jobs.drain()

    state, possible_duplicates, message_id = row()
    assert (state, possible_duplicates) == ("sent", 1)
    assert {received.message["Message-ID"] for received in mail_server.received} == {message_id}
