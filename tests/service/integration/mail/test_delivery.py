"""A claimed email is delivered to a mail server, and its row records the outcome."""

import logging
import mailbox

import psycopg
import pytest

from workshed import db
from workshed.contrib import mail
from workshed.contrib.mail import seats
from workshed.contrib.mail.protocol import smtp
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.errors import PermanentError, SettingsError


def send(email):
    mail.deliver(email)
    with db.transaction() as conn:
        return mail.mark_sent(conn, email)


def claim(email_id):
    with db.transaction() as conn:
        return mail.claim(conn, email_id)


@pytest.fixture
def to_scripted(scripted, configure):
    configure(smtp_url=scripted.url)
    return scripted


def test_a_delivered_mail_is_marked_as_sent(claimed, mail_server, row):
    assert send(claimed)

    assert row(claimed.id).state == "sent"
    assert row(claimed.id).sent_at
    assert claim(claimed.id) is None


def test_the_stored_mail_arrives(claimed, mail_server):
    send(claimed)

    (received,) = mail_server.received
    assert received.recipients == ("ada@example.org",)
    assert received.message["Message-ID"] == claimed.message_id
    assert received.message["Subject"] == "Welcome to Workshed, Ada Lovelace"
    assert "Your account at Workshed is ready" in received.message.get_body().get_content()


@pytest.mark.parametrize(
    ("verb", "said", "error", "state"),
    [
        ("CONNECT", "hang up", mail.MailServerAway, "pending"),
        ("RCPT", "451 greylisted", mail.MailTemporarilyRefusedError, "pending"),
        ("RCPT", "550 no such user", mail.RecipientRejectedError, "failed"),
        ("DATA", "stall", mail.MailTimeoutError, "pending"),
        ("DOT", "554 spam", mail.MailRefusedError, "failed"),
        ("DOT", "hang up", mail.MailDeliveryUnknownError, "unknown"),
        ("DOT", "stall", mail.MailDeliveryUnknownError, "unknown"),
    ],
)
def test_a_failure_gives_the_claim_back_truthfully(
    claimed, to_scripted, configure, row, verb, said, error, state
):
    to_scripted.says(**{verb: said})
    configure(smtp_timeout="0.5" if said == "stall" else "60")

    with pytest.raises(error) as failed:
        mail.deliver(claimed)

    assert (row(claimed.id).state, row(claimed.id).claim) == (state, None)
    said = failed.value.__cause__ if error is mail.MailServerAway else failed.value
    assert row(claimed.id).last_error == str(said)


@pytest.mark.usefixtures("claimed")
def test_without_a_server_the_mail_is_left_for_later(claimed, configure, row):
    configure(smtp_url="smtp://127.0.0.1:1")

    with pytest.raises(mail.MailServerAway, match="nothing listens there"):
        mail.deliver(claimed)

    assert row(claimed.id).state == "pending"
    assert claim(claimed.id).possible_duplicates == 0


def test_a_mail_the_server_kept_without_saying_so_arrives_twice_as_one(claimed, mail_server):
    mail_server.close_after_dot(keep=True)
    with pytest.raises(mail.MailDeliveryUnknownError):
        mail.deliver(claimed)

    again = claim(claimed.id)
    assert send(again)

    assert again.possible_duplicates == 1
    ids = [received.message["Message-ID"] for received in mail_server.received]
    assert ids == [claimed.message_id, claimed.message_id]


def test_a_refused_address_is_permanent(claimed, mail_server, row):
    mail_server.refuse_with(550)

    with pytest.raises(PermanentError):
        mail.deliver(claimed)

    assert row(claimed.id).state == "failed"
    assert mail_server.attempts == ["ada@example.org"]


def test_a_busy_server_is_asked_again(claimed, mail_server):
    mail_server.refuse_with(451)
    with pytest.raises(mail.MailServerError):
        mail.deliver(claimed)
    mail_server.clear_faults()

    assert send(claim(claimed.id))
    assert len(mail_server.received) == 1


def test_a_database_that_is_away_does_not_hide_what_the_mail_server_said(
    claimed, to_scripted, configure, row, caplog, database
):
    server = SmtpServer.from_url(to_scripted.url)
    with seats.process_seats.use_seat(server, 1):
        smtp.send_mail(server, Envelope("a@example.org", "b@example.org", b"Hello\r\n"))
    to_scripted.says(RCPT="451 greylisted")
    db.get_pool().close()
    db.forget_pool()
    configure(database_url="postgresql://127.0.0.1:1/nowhere")
    db.POOL_WAIT_S, waits = 0.1, db.POOL_WAIT_S

    with caplog.at_level(logging.WARNING), pytest.raises(mail.MailTemporarilyRefusedError):
        mail.deliver(claimed)

    db.POOL_WAIT_S = waits
    assert f"the claim of mail {claimed.id} expires by itself" in caplog.text
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT state FROM workshed_mail.emails").fetchone() == ("sending",)


def test_a_setting_that_cannot_be_used_costs_the_mail_nothing(claimed, configure, row):
    configure(smtp_url="smtp://host:port")

    with pytest.raises(SettingsError):
        mail.deliver(claimed)

    assert row(claimed.id).state == "pending"


def test_a_maildir_takes_mails_without_a_server(claimed, configure, tmp_path):
    folder = tmp_path / "var" / "mail"
    configure(smtp_url=f"maildir:{folder}")

    assert send(claimed)

    (kept,) = mailbox.Maildir(folder, create=False)
    assert kept["Message-ID"] == claimed.message_id
    assert b"\r" not in next((folder / "new").iterdir()).read_bytes()
    assert not list((folder / "tmp").iterdir())


def test_a_maildir_that_cannot_be_written_leaves_the_mail_for_later(
    claimed, configure, tmp_path, row
):
    (tmp_path / "file").touch()
    configure(smtp_url=f"maildir:{tmp_path / 'file'}")

    with pytest.raises(mail.MailServerAway, match="maildir:"):
        mail.deliver(claimed)

    assert row(claimed.id).state == "pending"


def test_a_reply_of_the_server_may_contain_anything(claimed, to_scripted, row):
    to_scripted.says(RCPT="451 a\0b\x1b[31m")

    with pytest.raises(mail.MailTemporarilyRefusedError):
        mail.deliver(claimed)

    assert "a b [31m" in row(claimed.id).last_error
