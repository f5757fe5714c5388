"""Emails sent in a transaction, and the actor that an application declares for them."""

from datetime import timedelta

import pytest
from psycopg.errors import CheckViolation

from actors import deliver_email
from workshed import db, extras
from workshed.contrib import mail
from workshed.contrib.mail import jobs as mail_jobs
from workshed.contrib.mail.errors import MailActorMissingError
from workshed.extras import MissingExtraError

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


def test_without_the_actor_the_error_says_how_to_declare_it(database, monkeypatch):
    monkeypatch.setattr(mail_jobs, "_actor", None)

    with (
        pytest.raises(MailActorMissingError, match=r"call `workshed.contrib.mail.declare\(queue=…"),
        db.transaction() as conn,
    ):
        mail.deliver_later(conn, LETTER)


def test_nothing_is_decided_without_the_actor(database, monkeypatch):
    monkeypatch.setattr(mail_jobs, "_actor", None)
    with db.transaction() as conn:
        email_id = mail.store(conn, LETTER)
        query = "UPDATE workshed_mail.emails SET state = 'unknown', held_at = workshed.now()"
        conn.execute(query)

    with pytest.raises(MailActorMissingError), db.transaction() as conn:
        mail.decide_held(conn, email_id, arrived=True)

    with db.transaction() as conn:
        assert [one.id for one in mail.list_held(conn, 10)] == [email_id]


def test_it_is_declared_once():
    with pytest.raises(ValueError, match="'deliver_email' is already registered"):
        mail.declare(queue="low")


def test_without_the_extra_a_worker_does_not_start(monkeypatch):
    """Otherwise the first email would fail, perhaps hours after the deploy."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)

    with pytest.raises(MissingExtraError, match=r"pip install 'workshed\[mail\]'"):
        mail.declare(queue="emails")


def test_on_a_queue_without_priorities_mails_are_delivered_too(jobs, monkeypatch, broker):
    monkeypatch.setattr(mail_jobs, "_actor", None)
    monkeypatch.setattr(mail_jobs, "_after_decision", None)
    monkeypatch.delitem(broker.actors, "deliver_email")
    actor = mail.declare(queue="low")

    with db.transaction() as conn:
        mail.deliver_later(conn, LETTER)

    jobs.assert_enqueued(actor, queue="low", times=1)
    jobs.drain()
    assert len(jobs.mailbox) == 1


def test_a_kind_that_could_not_stand_in_a_message_id_is_refused(database):
    draft = mail.Draft("Monthly statement", "ada@example.org", "Ada", "Hi", "Hi")

    with pytest.raises(CheckViolation, match="emails_kind"), db.transaction() as conn:
        mail.store(conn, draft)


def test_old_mails_are_deleted_but_none_that_waits(jobs):
    with db.transaction() as conn:
        for kind in ("sent", "failed", "unknown", "pending"):
            email_id = mail.store(conn, mail.Draft(kind, "ada@example.org", "Ada", "Hi", "Hi"))
            conn.execute(
                "UPDATE workshed_mail.emails SET state = %(state)s, "
                "sent_at = CASE WHEN %(state)s = 'sent' THEN workshed.now() END WHERE id = %(id)s",
                {"state": kind, "id": email_id},
            )
        year = timedelta(days=365)
        assert mail.prune_emails(conn, year, 10) == 0

        assert mail.prune_emails(conn, timedelta(), 1) == 1
        assert mail.prune_emails(conn, timedelta(), 10) == 1
        left = conn.execute("SELECT kind FROM workshed_mail.emails ORDER BY id").fetchall()
        assert left == [("unknown",), ("pending",)]
