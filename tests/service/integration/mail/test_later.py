"""Mails that are sent with a transaction, and the actor that an application declares for them."""

import pytest

from actors import deliver_email
from workshed import db
from workshed.contrib import mail
from workshed.contrib.mail import jobs as mail_jobs
from workshed.contrib.mail.errors import MailActorMissingError

LETTER = mail.Draft("greeting", "ada@example.org", "Ada", "Hi", "Hi", user_id="ada")


def test_a_mail_and_its_job_commit_together(jobs):
    with db.transaction() as conn:
        email_id = mail.deliver_later(conn, LETTER)
        assert jobs.mailbox == []

    jobs.assert_enqueued(deliver_email, email_id, queue="emails", priority=mail.SINGLE)
    jobs.drain()
    assert [one["To"] for one in jobs.mailbox] == ["Ada <ada@example.org>"]


def test_neither_is_there_when_the_transaction_is_rolled_back(jobs):
    with db.transaction() as conn:
        mail.deliver_later(conn, LETTER)
        conn.rollback()

    jobs.refute_enqueued(deliver_email)
    with db.transaction() as conn:
        assert conn.execute("SELECT count(*) FROM workshed_mail.emails").fetchone() == (0,)


def test_a_mail_that_is_sent_twice_arrives_once(jobs):
    ids = set()
    for _ in range(2):
        with db.transaction() as conn:
            ids.add(mail.deliver_later(conn, LETTER))
        jobs.drain()

    assert len(ids) == 1
    assert len(jobs.mailbox) == 1


def test_it_comes_before_others_as_its_draft_says(jobs):
    alert = mail.Draft("down", "ops@example.org", "", "Down", "It is down", priority=mail.ALERT)

    with db.transaction() as conn:
        mail.deliver_later(conn, alert)

    jobs.assert_enqueued(deliver_email, queue="emails", priority=mail.ALERT)


def test_where_nobody_declared_the_actor_the_error_says_how(database, monkeypatch):
    monkeypatch.setattr(mail_jobs, "_actor", None)

    with (
        pytest.raises(MailActorMissingError, match=r"call `workshed.contrib.mail.declare\(queue=…"),
        db.transaction() as conn,
    ):
        mail.deliver_later(conn, LETTER)
