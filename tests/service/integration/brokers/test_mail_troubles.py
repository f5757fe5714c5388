"""Problems with email delivery, as relays report them."""

import pytest

from workshed import db
from workshed.contrib import mail
from workshed.contrib.mail.relay_gauge import MailTroubleGauge

SERVER = "mail.example.org:25"
FAILING = """
    INSERT INTO workshed_mail.mail_servers (name, failures, failing_since, last_error)
    VALUES (%s, 3, workshed.now() - interval '1 hour', 'it answered 421')
"""


@pytest.fixture
def conn(connect, database):
    return connect(autocommit=True)


@pytest.fixture
def look(conn, counted):
    """`look()`: how long the server has failed, and how many emails are held, after a new check."""
    duty = MailTroubleGauge()

    def once():
        assert duty(conn) >= 10
        failing = counted("mail_server_failing_seconds", server=SERVER)
        return failing, counted("mails_held")

    return once


def test_a_server_that_takes_no_mails_has_failed_for_so_long(conn, look):
    assert look()[0] == 0
    conn.execute(FAILING, (SERVER,))

    assert 3600 <= look()[0] < 3700
    conn.execute("DELETE FROM workshed_mail.mail_servers")
    assert look()[0] == 0


def test_mails_that_are_held_are_counted(conn, look):
    with db.transaction() as own:
        email_id = mail.store(own, mail.Draft("test", "ada@example.org", "Ada", "Hi", "Hi"))
    assert look()[1] == 0

    query = (
        "UPDATE workshed_mail.emails SET state = 'unknown', held_at = workshed.now() WHERE id = %s"
    )
    conn.execute(query, (email_id,))

    assert look()[1] == 1


@pytest.mark.fresh_database
def test_without_its_tables_it_reports_nothing(conn, look):
    conn.execute("DROP SCHEMA workshed_mail CASCADE")
    conn.execute("DELETE FROM workshed.migrations WHERE stream = 'workshed_mail'")

    assert look()[0] == 0
