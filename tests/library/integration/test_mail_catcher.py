"""The mail catcher: what it keeps and counts, and how it fails on demand."""

import mailbox
import smtplib
from email.message import EmailMessage

import pytest

from workshed.devserver.mail import MailCatcher
from workshed.settings import settings


@pytest.fixture
def client(mail_server):
    client = smtplib.SMTP("127.0.0.1", mail_server.port)
    yield client
    client.close()


@pytest.fixture
def letter():
    letter = EmailMessage()
    letter["From"] = "shed@example.org"
    letter["To"] = "zoë@example.org"
    letter["Subject"] = "Grüße"
    letter.set_content("Hello\n.a line with a dot\n")
    return letter


def test_a_mail_lands_in_the_maildir_with_its_recipients(mail_server, client, letter):
    client.send_message(letter, to_addrs=["zoë@example.org", "hidden@example.org"])

    (mail,) = mailbox.Maildir(mail_server.maildir)
    assert len(mail.get_all("Delivered-To")) == 2
    (received,) = mail_server.received
    assert received.recipients == ("zoë@example.org", "hidden@example.org")
    assert received.message["Subject"] == "Grüße"
    assert received.message.get_content() == "Hello\n.a line with a dot\n"


def test_the_settings_point_to_it(mail_server):
    assert settings().smtp_url.get_secret_value() == mail_server.url


def test_an_address_is_busy_once(tmp_path, letter):
    with (
        MailCatcher(tmp_path / "mail", busy_once=["zoë@example.org"]) as catcher,
        smtplib.SMTP("127.0.0.1", catcher.port) as client,
    ):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            client.send_message(letter)
        client.send_message(letter)

    assert caught.value.recipients["zoë@example.org"][0] == 451
    assert catcher.attempts == ["zoë@example.org", "zoë@example.org"]
    assert len(catcher.received) == 1


def test_it_goes_down_and_comes_up(mail_server, client, letter):
    mail_server.go_down()
    with pytest.raises(smtplib.SMTPSenderRefused) as caught:
        client.send_message(letter)
    mail_server.come_up()
    with smtplib.SMTP("127.0.0.1", mail_server.port) as again:
        again.send_message(letter)

    assert caught.value.smtp_code == 421
    assert len(mail_server.received) == 1


def test_an_address_is_refused_until_the_catcher_behaves(mail_server, client):
    mail_server.refuse_with(550, "gone@example.org")
    sender, both = "shed@example.org", ["gone@example.org", "here@example.org"]

    refused = client.sendmail(sender, both, "\r\n")
    mail_server.clear_faults()

    assert refused["gone@example.org"][0] == 550
    assert mail_server.received[0].recipients == ("here@example.org",)
    assert client.sendmail(sender, both, "\r\n") == {}


@pytest.mark.parametrize("kept", [True, False])
def test_it_closes_the_connection_instead_of_a_reply(mail_server, client, letter, kept):
    mail_server.close_after_dot(keep=kept)

    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.send_message(letter)

    assert len(mail_server.received) == kept
    with smtplib.SMTP("127.0.0.1", mail_server.port) as another:
        another.send_message(letter)
    assert len(mail_server.received) == kept + 1


@pytest.mark.parametrize("stage", ["connect", "helo", "mail", "rcpt", "data", "dot"])
def test_it_stalls_at_any_stage_and_stops_nevertheless(tmp_path, letter, stage, eventually):
    with MailCatcher(tmp_path / "mail") as catcher:
        catcher.stall_at(stage)
        client = smtplib.SMTP(timeout=0.2)

        with pytest.raises((TimeoutError, smtplib.SMTPServerDisconnected)):
            client.connect("127.0.0.1", catcher.port) and client.send_message(letter)

        client.close()
        eventually(lambda: catcher.connections == 1)  # the client may give up before it
        assert catcher.received == []
    assert not catcher.thread.is_alive()
