"""Parsing the URL of a mail server."""

import pytest

from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("smtp://mail.example.org", 25),
        ("smtp://ada:secret@mail.example.org", 587),
        ("smtps://mail.example.org", 465),
        ("smtp://mail.example.org:2525", 2525),
    ],
)
def test_the_port_is_the_usual_one_or_the_one_given(url, port):
    assert SmtpServer.from_url(url).port == port


def test_user_and_password_are_percent_encoded():
    server = SmtpServer.from_url("smtp://ada%40example.org:a%2Fb%3Ac@[::1]:2525")

    assert (server.user, server.password, server.host) == ("ada@example.org", "a/b:c", "::1")


def test_only_the_own_machine_is_local():
    assert SmtpServer.from_url("smtp://127.0.0.1").is_local
    assert not SmtpServer.from_url("smtp://mail.example.org").is_local


def test_no_password_is_ever_shown():
    server = SmtpServer.from_url("smtp://ada:secret@mail.example.org")

    assert "secret" not in f"{server} {server!r}"


@pytest.mark.parametrize("url", ["smtp://", "smtp://ada:secret@host:port", "smtp://ada:secret@[::"])
def test_a_url_that_cannot_be_read_is_refused_without_being_quoted(url):
    with pytest.raises(SettingsError, match="WORKSHED_SMTP_URL") as refused:
        SmtpServer.from_url(url)

    assert "secret" not in str(refused.value)
