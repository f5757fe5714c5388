"""What a mail server can do to a job."""

import itertools

import pytest

import actors
from workshed import db

SOON = {"WORKSHED_SMTP_TIMEOUT": "1"}


@pytest.fixture
def welcome(conn):
    def welcome():
        with db.transaction() as tx:
            return actors.sign_up(tx, name="Ada", email="ada@example.org").id

    return welcome


@pytest.fixture
def hurry(conn, eventually, count):
    """Wait for the next stored retry, check when it is due, and make it due now."""
    hops = itertools.count(1)

    def hurry(at_least_s=0):
        stored = f"jobs.schedule WHERE reason = 'retry' AND hop = {next(hops)}"
        eventually(lambda: count(stored), within_s=30)
        wait = conn.execute("SELECT due_at - jobs.now() FROM jobs.schedule").fetchone()[0]
        assert wait.total_seconds() >= at_least_s
        conn.execute("UPDATE jobs.schedule SET due_at = jobs.now() WHERE reason = 'retry'")

    return hurry


def outcomes(conn):
    query = "SELECT outcome, error_class FROM jobs.attempts ORDER BY id"
    return conn.execute(query).fetchall()


def test_a_server_that_is_away_is_tried_five_times_with_growing_waits(
    start_worker, mail_server, welcome, hurry, eventually, conn, count
):
    mail_server.stop()
    start_worker(env=SOON)

    user = welcome()
    for wait in (10, 20, 40, 80):
        hurry(at_least_s=wait)

    eventually(lambda: count("jobs.dead"), within_s=30)
    assert outcomes(conn) == [("retried", "MailServerUnreachableError")] * 4 + [
        ("dead", "MailServerUnreachableError")
    ]
    assert count(f"product.users WHERE id = {user} AND welcomed_at IS NULL") == 1
    assert count("product.emails WHERE state = 'pending' AND ambiguous = 0") == 1


def test_a_busy_server_gets_the_mail_at_the_next_attempt(
    start_worker, mail_server, welcome, hurry, eventually, conn, count
):
    mail_server.refuse_with(451, "ada@example.org")
    start_worker()

    welcome()
    eventually(lambda: count("jobs.attempts"), within_s=30)
    mail_server.behave()
    hurry(at_least_s=10)

    eventually(lambda: count("product.emails WHERE state = 'sent' AND ambiguous = 0"), within_s=30)
    assert outcomes(conn) == [("retried", "MailTemporarilyRefusedError")]
    assert len(mail_server.received) == 1


def test_a_refused_address_dies_at_once(
    start_worker, mail_server, welcome, eventually, conn, count
):
    mail_server.refuse_with(550, "ada@example.org")
    start_worker()

    welcome()

    eventually(lambda: count("jobs.dead"), within_s=30)
    assert outcomes(conn) == [("dead", "RecipientRejectedError")]
    assert count("product.emails WHERE state = 'failed'") == 1


def test_a_server_that_never_answers_costs_an_attempt(
    start_worker, mail_server, welcome, hurry, eventually, conn, count
):
    mail_server.stall_at("rcpt")
    start_worker(env=SOON)

    welcome()
    eventually(lambda: count("jobs.attempts"), within_s=30)
    mail_server.behave()
    hurry(at_least_s=10)

    eventually(lambda: count("product.emails WHERE state = 'sent' AND ambiguous = 0"), within_s=30)
    assert outcomes(conn) == [("retried", "MailTimeoutError")]
    assert len(mail_server.received) == 1


def test_a_server_that_closes_after_data_gets_the_same_mail_again_and_it_is_counted(
    start_worker, mail_server, welcome, hurry, eventually, conn, count
):
    mail_server.close_after_dot()
    start_worker()

    welcome()
    eventually(lambda: count("jobs.attempts"), within_s=30)
    mail_server.behave()
    hurry(at_least_s=10)

    eventually(lambda: count("product.emails WHERE state = 'sent' AND ambiguous = 1"), within_s=30)
    assert outcomes(conn) == [("retried", "MailFateUnknownError")]
    ids = {mail.message["Message-ID"] for mail in mail_server.received}
    assert len(ids) == 1
