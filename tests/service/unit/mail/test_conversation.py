"""The meaning of the server's replies, and how long to wait for one."""

import smtplib
import socket
import ssl
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis.strategies import binary, integers

from workshed.contrib.mail import (
    MailDeliveryUnknownError,
    MailLoginRefusedError,
    MailRefusedError,
    MailServerError,
    MailServerUnreachableError,
    MailTemporarilyRefusedError,
    MailTimeoutError,
)
from workshed.contrib.mail.protocol.conversation import describe_failure
from workshed.contrib.mail.protocol.deadline import MailDeadline, SmtpStep, longest_delivery
from workshed.contrib.mail.protocol.reply import Reply
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.errors import PermanentError

SERVER = SmtpServer.from_url("smtp://mail.example.org")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (421, MailServerUnreachableError),
        (450, MailTemporarilyRefusedError),
        (451, MailTemporarilyRefusedError),
        (530, MailLoginRefusedError),
        (535, MailLoginRefusedError),
        (550, MailRefusedError),
        (554, MailRefusedError),
        (250, MailServerUnreachableError),
        (-1, MailServerUnreachableError),
    ],
)
def test_each_refusal_is_an_error_of_its_own(code, error):
    refusal = Reply(code, "because").to_error(SERVER, "DATA")

    assert type(refusal) is error
    assert "because" in str(refusal)


@given(integers(min_value=-1, max_value=999))
def test_only_a_permanent_refusal_is_a_permanent_error(code):
    refusal = Reply(code, "").to_error(SERVER, "DATA")

    assert isinstance(refusal, PermanentError) != isinstance(refusal, MailServerError)
    assert not isinstance(refusal, PermanentError) or 500 <= code <= 599


@given(binary(max_size=2000))
def test_whatever_the_server_says_can_be_logged_and_stored(text):
    reply = Reply.parse(250, text)

    assert reply.text.isprintable()
    assert len(reply.text) <= 500


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens there"),
        (socket.gaierror(-2, "Name or service not known"), "cannot be resolved"),
        (smtplib.SMTPConnectError(554, b"no\r\nservice"), "it answered 554 no  service"),
        (smtplib.SMTPServerDisconnected("Connection unexpectedly closed"), "unexpectedly closed"),
        (TimeoutError(), "no reply in time"),
        (ssl.SSLError(1, "wrong version number"), "wrong version number"),
    ],
)
def test_each_failure_says_what_went_wrong(error, said):
    assert said in describe_failure(error)


def test_no_step_begins_when_the_time_is_over():
    timer = MailDeadline.start(timedelta(0))

    with pytest.raises(TimeoutError):
        timer.begin_step(SmtpStep.COMMAND)


def test_the_longest_exchange_is_bounded():
    assert longest_delivery(timedelta(seconds=10)) == timedelta(seconds=50)
    assert longest_delivery(None) == timedelta(minutes=25)


@pytest.mark.parametrize(
    ("error", "of_server"),
    [
        (Reply(421, "closing").to_error(SERVER, "RCPT TO"), True),
        (Reply(452, "daily quota exceeded").to_error(SERVER, "MAIL FROM"), True),
        (Reply(450, "greylisted").to_error(SERVER, "RCPT TO"), False),
        (Reply(451, "later").to_error(SERVER, "the text of the mail"), False),
        (Reply(535, "who?").to_error(SERVER, "MAIL FROM"), True),
        (Reply(550, "bad sender").to_error(SERVER, "MAIL FROM"), False),
        (Reply(550, "no such user").to_error(SERVER, "RCPT TO"), False),
        (MailTimeoutError("mail:25", "the connection", 30), True),
        (MailTimeoutError("mail:25", "DATA", 120), False),
        (MailServerUnreachableError("mail:25", "it hung up", "the text of the mail"), False),
        (MailDeliveryUnknownError("mail:25", "it hung up"), False),
    ],
    ids=str,
)
def test_a_reply_about_the_server_says_nothing_about_the_mail(error, of_server):
    assert error.is_server_failure is of_server
