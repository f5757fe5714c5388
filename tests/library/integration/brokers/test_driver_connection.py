"""Mails and notifications in the transaction of an application's ORM."""

import pytest
import sqlalchemy
from django.db import connection

from tests.django_app import django_connected
from tests.library.integration.connection_kinds import KINDS, of_driver
from workshed.contrib import mail, notifications
from workshed.contrib.mail import jobs as mail_jobs
from workshed.database.driver_connection import driver_connection
from workshed.errors import OpenTransactionError, UnknownConnectionError

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

WRITABLE = [name for name in KINDS if "async" not in name and "psycopg2" not in name]
OTHERS = [name for name in KINDS if name not in WRITABLE]
LETTER = mail.Draft("greeting", "ada@example.org", "Ada", "Hi", "Hi", user_id="ada")


@pytest.fixture
def delivers(actor, monkeypatch):
    """The actor that delivers mails, which an application declares."""
    declared = actor(queue_name="default", actor_name="deliver_mail")(lambda email_id: None)
    monkeypatch.setattr(mail_jobs, "_actor", declared)


@pytest.mark.parametrize("kind", WRITABLE)
def test_mails_and_notifications_commit_with_the_data_or_not_at_all(kind, database, delivers, rows):
    stored = """
        SELECT (SELECT count(*) FROM workshed_mail.emails),
               (SELECT count(*) FROM workshed.schedule),
               (SELECT count(*) FROM workshed_notifications.notifications)
    """
    for commits in (False, True):
        with KINDS[kind](database, commit=commits) as (conn, _, _):
            mail.deliver_later(conn, LETTER)
            assert notifications.notify(conn, "ada", "joined", {"id": 7}, key="joined") == 1
            assert notifications.notify(conn, "ada", "joined", {"id": 7}, key="joined") is None
        assert rows(stored) == [(commits, commits, commits)]

    with KINDS[kind](database, commit=True) as (conn, _, _):
        assert (mail.delete_of(conn, "ada"), notifications.delete_of(conn, "ada")) == (1, 1)
    assert rows(stored) == [(0, 1, 0)]


@pytest.mark.parametrize("kind", OTHERS)
def test_a_connection_without_a_transaction_of_psycopg_3_is_refused(kind, database, delivers):
    with (
        KINDS[kind](database, commit=False) as (conn, _, _),
        pytest.raises(UnknownConnectionError, match=r"mail\.deliver_later\(\) cannot write on .*"),
    ):
        mail.deliver_later(conn, LETTER)


def test_outside_of_a_transaction_an_orm_would_commit_a_mail_without_its_job(
    database, delivers, rows
):
    engine = sqlalchemy.create_engine(of_driver(database, "psycopg"), isolation_level="AUTOCOMMIT")
    with (
        django_connected(database),
        pytest.raises(OpenTransactionError, match=r"mail\.deliver_later\(\) belongs to"),
    ):
        mail.deliver_later(connection, LETTER)
    with (
        engine.connect() as conn,
        pytest.raises(OpenTransactionError, match=r"notifications\.notify\(\) belongs to"),
    ):
        notifications.notify(conn, "ada", "joined", {}, key="joined")
    engine.dispose()

    assert rows("SELECT count(*) FROM workshed_mail.emails") == [(0,)]


def test_an_engine_is_refused(database):
    engine = sqlalchemy.create_engine(of_driver(database, "psycopg"))

    with pytest.raises(UnknownConnectionError, match=r"sqlalchemy\.engine"):
        driver_connection(engine, "store()")
