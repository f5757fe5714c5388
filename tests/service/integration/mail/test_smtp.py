"""The meaning of each reply of a mail server for the email."""

import contextlib
import os
import socket
import threading
import warnings

import pytest

from workshed.contrib.mail import (
    MailDeliveryUnknownError,
    MailLoginRefusedError,
    MailRefusedError,
    MailServerUnreachableError,
    MailTemporarilyRefusedError,
    MailTimeoutError,
    RecipientRejectedError,
)
from workshed.contrib.mail.protocol import connection_cache, conversation, deadline
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.errors import PermanentError

STALL, HANG_UP = "stall", "hang up"


def patience(said):
    """Return the timeout: short if no reply comes, long enough for a slow machine otherwise."""
    return 0.5 if said == STALL else 10


def test_a_mail_arrives_as_it_was_sent(send, scripted):
    send(text=b"Subject: Hi\r\n\r\n.dot\r\n..\r\nend\r\n")

    assert scripted.texts == [b"Subject: Hi\r\n\r\n..dot\r\n...\r\nend\r\n"]
    assert "MAIL FROM:<hello@workshed.invalid>" in scripted.heard
    assert "RCPT TO:<ada@example.org>" in scripted.heard


CERTAIN = [
    ("CONNECT", "554 no service", MailServerUnreachableError),
    ("CONNECT", "421 busy", MailServerUnreachableError),
    ("CONNECT", HANG_UP, MailServerUnreachableError),
    ("CONNECT", STALL, MailTimeoutError),
    ("EHLO", HANG_UP, MailServerUnreachableError),
    ("EHLO", STALL, MailTimeoutError),
    ("MAIL", "451 later", MailTemporarilyRefusedError),
    ("MAIL", "530 log in first", MailLoginRefusedError),
    ("MAIL", "550 bad sender", MailRefusedError),
    ("MAIL", "garbage", MailServerUnreachableError),
    ("MAIL", HANG_UP, MailServerUnreachableError),
    ("MAIL", STALL, MailTimeoutError),
    ("RCPT", "451 greylisted", MailTemporarilyRefusedError),
    ("RCPT", "421 closing", MailServerUnreachableError),
    ("RCPT", "550 no such user", RecipientRejectedError),
    ("RCPT", STALL, MailTimeoutError),
    ("DATA", "451 later", MailTemporarilyRefusedError),
    ("DATA", "554 no", MailRefusedError),
    ("DATA", "250 what?", MailServerUnreachableError),
    ("DATA", HANG_UP, MailServerUnreachableError),
    ("DATA", STALL, MailTimeoutError),
    ("DOT", "451 later", MailTemporarilyRefusedError),
    ("DOT", "421 closing", MailServerUnreachableError),
    ("DOT", "554 spam", MailRefusedError),
]


@pytest.mark.parametrize(("verb", "said", "error"), CERTAIN)
def test_a_mail_that_was_surely_not_accepted(send, scripted, verb, said, error):
    scripted.says(**{verb: said})

    with pytest.raises(error) as failed:
        send(wait_s=patience(said))

    assert type(failed.value) is error
    assert failed.value.resulting_state == (
        "failed" if issubclass(error, PermanentError) else "pending"
    )
    assert scripted.connections == 1


@pytest.mark.parametrize("said", [HANG_UP, STALL, "garbage", "354 go on"])
def test_a_mail_whose_fate_is_unknown(send, scripted, said):
    scripted.says(DOT=said)

    with pytest.raises(MailDeliveryUnknownError) as failed:
        send(wait_s=patience(said))

    assert failed.value.resulting_state == "unknown"
    assert len(scripted.texts) == 1


def test_an_unreachable_server_is_reported_with_what_to_do(send):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(MailServerUnreachableError, match=f"127.0.0.1:{port}.*WORKSHED_SMTP_URL"):
        send(url=f"smtp://127.0.0.1:{port}")


def test_an_unknown_host_name_is_reported(send):
    with pytest.raises(MailServerUnreachableError, match="name cannot be resolved"):
        send(url="smtp://mail.invalid:25")


def test_a_server_that_stops_reading_has_not_accepted_the_mail(send, scripted):
    scripted.says(TEXT=STALL)

    with pytest.raises(MailTimeoutError, match="the text of the mail"):
        send(text=b"x" * 20_000_000 + b"\r\n", wait_s=patience(STALL))


def test_all_steps_together_may_not_take_long(send, scripted, monkeypatch):
    monkeypatch.setattr(deadline, "STEPS", 0)

    with pytest.raises(MailTimeoutError):
        send()
    assert scripted.texts == []


# Addresses without an ASCII form


def test_an_address_in_utf8_is_sent_if_the_server_supports_it(send, scripted):
    send("jürgen@example.org")
    send("ada@example.org")

    assert "MAIL FROM:<hello@workshed.invalid> SMTPUTF8 BODY=8BITMIME" in scripted.heard
    assert "RCPT TO:<jürgen@example.org>" in scripted.heard
    assert "MAIL FROM:<hello@workshed.invalid>" in scripted.heard


def test_an_address_in_utf8_is_rejected_if_the_server_does_not_support_it(send, scripted):
    scripted.says(EHLO="250 localhost")

    with pytest.raises(RecipientRejectedError, match="needs SMTPUTF8"):
        send("jürgen@example.org")
    assert not any(line.startswith("MAIL") for line in scripted.heard)


# Connections


def test_many_mails_share_one_connection(send, scripted):
    for _ in range(5):
        send()

    assert scripted.connections == 1
    assert len(scripted.texts) == 5


def test_each_thread_has_a_connection_of_its_own(send, scripted):
    def two():
        send()
        send()

    threads = [threading.Thread(target=two) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert scripted.connections == 3
    assert len(scripted.texts) == 6


def test_a_connection_the_server_closed_meanwhile_is_opened_again(send, scripted):
    send()
    scripted.hang_up()

    send()

    assert scripted.connections == 2
    assert len(scripted.texts) == 2


@pytest.mark.parametrize("said", ["421 idle for too long", HANG_UP, STALL])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_a_stale_connection_is_opened_again_before_the_mail_is_handed_over(
    send, scripted, verb, said
):
    send()
    scripted.says(**{verb: said})

    send(wait_s=patience(said))

    assert scripted.connections == 2
    assert len(scripted.texts) == 2


def test_it_is_opened_again_once(send, scripted):
    send()
    scripted.says(MAIL=[HANG_UP, HANG_UP, HANG_UP])

    with pytest.raises(MailServerUnreachableError):
        send()
    assert scripted.connections == 2


def test_nothing_is_sent_again_after_the_final_dot(send, scripted):
    send()
    scripted.says(DOT=HANG_UP)

    with pytest.raises(MailDeliveryUnknownError):
        send()
    assert len(scripted.texts) == 2
    assert scripted.connections == 1


@pytest.mark.parametrize("verb", ["RCPT", "DOT"])
def test_a_refusal_says_good_bye_and_the_next_mail_begins_afresh(send, scripted, verb, eventually):
    scripted.says(**{verb: "550 no"})
    with pytest.raises(PermanentError):
        send()

    send()

    eventually(lambda: "QUIT" in scripted.heard)  # its reply is not waited for
    assert scripted.heard.count("QUIT") == 1
    assert scripted.connections == 2


def test_an_idle_connection_is_not_used_again(send, scripted, monkeypatch):
    send()
    monkeypatch.setattr(connection_cache, "IDLE_S", 0.0)

    send()

    assert scripted.connections == 2


def test_another_server_has_another_connection(send, scripted):
    send()
    send(url=scripted.url.replace("127.0.0.1", "localhost"))

    assert scripted.connections == 2


def test_an_interrupted_mail_leaves_no_half_of_it_to_the_next(send, scripted):
    send()
    client = connection_cache.take_connection(SmtpServer.from_url(scripted.url))

    with contextlib.suppress(KeyboardInterrupt), conversation.close_on_error(client):
        client.docmd("MAIL FROM:<hello@workshed.invalid>")
        raise KeyboardInterrupt

    assert client.sock is None


def test_a_child_process_does_not_speak_on_its_parents_connection(send, scripted):
    send()
    with warnings.catch_warnings(action="ignore"):  # warnings that threads do not survive a fork
        child = os.fork()
    if child == 0:
        os._exit(connection_cache.take_connection(SmtpServer.from_url(scripted.url)) is not None)

    assert os.waitpid(child, 0)[1] == 0
    send()
    assert scripted.connections == 1
    assert "QUIT" not in scripted.heard


def test_the_final_dot_is_not_held_back_for_an_acknowledgement(send, scripted):
    send()

    client = connection_cache.take_connection(SmtpServer.from_url(scripted.url))

    assert client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    client.close()


def test_a_thread_that_ends_leaves_no_connection_open(send, scripted, eventually):
    thread = threading.Thread(target=send)
    thread.start()
    thread.join()

    assert eventually(lambda: not scripted.is_busy())


# Login and encryption


def test_a_password_is_sent_to_a_server_on_this_machine(send, scripted):
    scripted.says(EHLO="250-localhost\r\n250 AUTH PLAIN")

    send(url=scripted.url.replace("//", "//ada:s%40cret@"))

    assert any(line.startswith("AUTH PLAIN") for line in scripted.heard)
    assert len(scripted.texts) == 1


@pytest.mark.parametrize(
    ("offer", "answer", "said"),
    [
        ("AUTH PLAIN", "535 5.7.8 wrong", "535 5.7.8 wrong"),
        ("AUTH PLAIN", "454 try later", "454 try later"),
        ("SIZE 1000", "", "offers no login"),
    ],
)
def test_a_refused_login_is_about_the_server_and_shows_no_password(
    send, scripted, offer, answer, said
):
    scripted.says(EHLO=f"250-localhost\r\n250 {offer}", AUTH=answer)

    with pytest.raises(MailLoginRefusedError, match=said) as failed:
        send(url=scripted.url.replace("//", "//ada:s%40cret@"))

    assert "cret" not in str(failed.value)
    assert failed.value.resulting_state == "pending"


def test_a_password_outside_ascii_is_refused_without_being_shown(send, scripted):
    scripted.says(EHLO="250-localhost\r\n250 AUTH PLAIN")

    with pytest.raises(MailLoginRefusedError, match="not ASCII") as failed:
        send(url=scripted.url.replace("//", "//ada:secr%C3%A9t@"))

    assert failed.value.__cause__ is None
    assert "secr" not in str(failed.value)


def test_a_password_is_not_sent_in_clear_over_a_network(send, scripted, monkeypatch):
    monkeypatch.setattr(SmtpServer, "is_local", False)
    scripted.says(EHLO="250-mail\r\n250 AUTH PLAIN")

    with pytest.raises(MailLoginRefusedError, match="offers no STARTTLS"):
        send(url=scripted.url.replace("//", "//ada:secret@"))
    assert not any(line.startswith("AUTH") for line in scripted.heard)


@pytest.fixture
def trusted(scripted, certificate, monkeypatch):
    """The scripted server with a trusted certificate."""
    file, scripted.certificate = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    connection_cache._tls_context.cache_clear()
    yield
    connection_cache._tls_context.cache_clear()


@pytest.fixture
def offers_tls(scripted, trusted):
    """The scripted server offers STARTTLS."""
    scripted.says(EHLO=["250-localhost\r\n250 STARTTLS"])


@pytest.mark.usefixtures("offers_tls")
def test_a_connection_is_encrypted_where_the_server_offers_it(send, scripted):
    send()

    assert scripted.heard[:3] == [scripted.heard[0], "STARTTLS", scripted.heard[0]]
    assert len(scripted.texts) == 1


@pytest.mark.usefixtures("offers_tls")
def test_an_untrusted_certificate_is_refused(send, scripted, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    connection_cache._tls_context.cache_clear()

    with pytest.raises(MailServerUnreachableError, match="certificate is not trusted"):
        send(url=scripted.url.replace("//", "//ada:secret@"))
    assert scripted.heard[-1] == "STARTTLS"


def test_smtps_is_encrypted_from_the_first_byte(send, scripted, trusted):
    scripted.implicit_tls = True

    send(url=scripted.url.replace("smtp:", "smtps:"))

    assert "STARTTLS" not in scripted.heard
    assert len(scripted.texts) == 1


@pytest.mark.usefixtures("offers_tls")
def test_an_encryption_that_fails_is_not_done_without(send, scripted):
    scripted.says(STARTTLS="454 not now")

    with pytest.raises(MailServerUnreachableError, match="454 not now"):
        send()
    assert scripted.texts == []


def test_required_encryption_that_is_not_offered_stops_the_mail(send, scripted):
    with pytest.raises(MailServerUnreachableError, match="WORKSHED_SMTP_STARTTLS=required"):
        send(must_encrypt=True)

    assert not any(line.startswith(("MAIL", "AUTH")) for line in scripted.heard)
    assert scripted.texts == []


@pytest.mark.usefixtures("offers_tls")
def test_required_encryption_that_is_offered_is_used(send, scripted):
    send(must_encrypt=True)

    assert "STARTTLS" in scripted.heard
    assert len(scripted.texts) == 1
