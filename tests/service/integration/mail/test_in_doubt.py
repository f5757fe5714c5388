"""An email that may have arrived is sent again once; then an operator decides."""

import logging

import pytest

import actors
from actors import deliver_email, send_welcome_email
from shop import onboarding
from workshed import db
from workshed.contrib import mail


@pytest.fixture
def sign_up(jobs):
    def sign_up():
        with db.transaction() as conn:
            return actors.sign_up(conn, name="Ada", email="ada@example.org")

    return sign_up


@pytest.fixture
def doubtful(jobs, sign_up, mail_server):
    """The id of a user whose welcome a server received twice without a reply."""
    mail_server.close_after_dot(times=2)
    user = sign_up()
    with jobs.expect_retry():
        jobs.drain()
    jobs.advance(minutes=1)
    with jobs.expect_discard("sent 2 times, and may have arrived each time: it is held"):
        jobs.drain()
    return user.id


def state():
    with db.transaction() as conn:
        return conn.execute(
            "SELECT state, held_at IS NOT NULL, possible_duplicates FROM workshed_mail.emails"
        ).fetchone()


def held_id():
    with db.transaction() as conn:
        [held] = mail.list_held(conn, 10)
    return held.id


def welcomed_at():
    with db.transaction() as conn:
        return conn.execute("SELECT welcomed_at FROM shop.users").fetchone()[0]


def test_it_is_sent_again_once_and_then_held(jobs, doubtful, mail_server):
    jobs.advance(days=3)
    jobs.drain()

    assert len(mail_server.received) == 2
    assert state() == ("unknown", True, 1)
    assert jobs.dead == []
    assert welcomed_at() is None
    with db.transaction() as conn:
        [held] = mail.list_held(conn, 10)
    assert (held.kind, held.recipient, held.possible_duplicates) == (
        "welcome",
        "ada@example.org",
        1,
    )


def test_a_copy_of_its_job_does_not_send_it(jobs, doubtful, mail_server):
    with jobs.expect_discard("it is held"):
        jobs.perform(send_welcome_email, doubtful)
    with jobs.expect_discard("it is held"):
        jobs.perform(deliver_email, held_id())

    assert len(mail_server.received) == 2


@pytest.mark.usefixtures("doubtful")
def test_an_operator_lets_it_be_sent_once_more(jobs, mail_server):
    with db.transaction() as conn:
        assert mail.decide_held(conn, held_id(), arrived=False).kind == "welcome"
    jobs.drain()

    assert len(mail_server.received) == 3
    assert state() == ("sent", False, 2)
    assert welcomed_at() is not None


@pytest.mark.usefixtures("doubtful")
def test_an_operator_takes_it_for_sent(jobs, mail_server):
    with db.transaction() as conn:
        mail.decide_held(conn, held_id(), arrived=True)
    jobs.drain()

    assert len(mail_server.received) == 2
    assert state() == ("sent", False, 1)
    assert welcomed_at() is not None
    jobs.assert_enqueued(actors.send_onboarding_reminder, times=1)


@pytest.mark.usefixtures("doubtful")
def test_one_that_is_sent_once_more_and_stays_in_doubt_is_held_again(jobs, mail_server):
    mail_server.close_after_dot()
    with db.transaction() as conn:
        mail.decide_held(conn, held_id(), arrived=False)
    with jobs.expect_discard("sent 3 times, and may have arrived each time: it is held"):
        jobs.drain()

    assert state() == ("unknown", True, 2)


def test_nothing_is_decided_about_a_mail_that_is_not_held(jobs, sign_up, mail_server):
    sign_up()
    jobs.drain()

    with db.transaction() as conn:
        email_id = conn.execute("SELECT id FROM workshed_mail.emails").fetchone()[0]
        assert mail.decide_held(conn, email_id, arrived=False) is None
    jobs.refute_enqueued(send_welcome_email)


def test_one_whose_worker_dies_twice_is_held(jobs, sign_up, mail_server, caplog):
    user = sign_up()
    for _ in range(2):
        with db.transaction() as conn:
            assert onboarding.claim_welcome(conn, user.id)
        jobs.advance(hours=1)

    with caplog.at_level(logging.WARNING), jobs.expect_discard("it is held"):
        jobs.drain()

    assert state() == ("unknown", True, 1)
    assert mail_server.received == []
