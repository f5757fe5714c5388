"""An email as bytes, read back by other parsers."""

import re
from dataclasses import replace
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.utils import getaddresses, parsedate_to_datetime

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis.strategies import characters, text

from shop.people import InvalidNameError, names, unsubscribe_links
from workshed.contrib.mail import BULK, RecipientRejectedError
from workshed.contrib.mail.protocol import mime


def read(email):
    """Parse with the standard library's oldest parser, which repairs nothing."""
    return message_from_bytes(
        mime.build_envelope(email, unsubscribe_links.build_link_from_text).payload,
        policy=policy.compat32,
    )


def decoded(value):
    return str(make_header(decode_header(value)))


def recipients(parsed):
    """Return (name, address) of each; addresses are split first, as a mail program does."""
    return [(decoded(name), address) for name, address in getaddresses(parsed.get_all("To"))]


def test_the_headers_a_mail_must_have(email):
    parsed = read(email())

    assert parsed["From"].split() == ['"Workshed"', "<hello@workshed.invalid>"]
    assert recipients(parsed) == [("Ada Lovelace", "ada@example.org")]
    assert parsed["Subject"] == "Welcome"
    assert parsed["Message-ID"] == "<welcome.0123@workshed.invalid>"
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsedate_to_datetime(parsed["Date"]) == email().created_at


def test_a_mail_to_many_says_in_plain_words_how_to_unsubscribe(email, configure):
    """RFC 8058: programs read these headers without decoding them."""
    configure(secret_key="k" * 40, site_url=f"https://app.example.org/{'long/' * 20}")

    parsed = read(email(user_id="7", priority=BULK))

    assert parsed["List-Unsubscribe"] == f"<{unsubscribe_links.build_link(7)}>"
    assert parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert read(email(user_id="7"))["List-Unsubscribe"] is None


def test_a_link_without_tls_is_for_no_button(email, configure):
    """RFC 8058, 3.1."""
    configure(secret_key="k" * 40, site_url="http://app.example.org")

    parsed = read(email(user_id="7", priority=BULK))

    assert parsed["List-Unsubscribe"] == f"<{unsubscribe_links.build_link(7)}>"
    assert parsed["List-Unsubscribe-Post"] is None


def test_every_delivery_is_the_same_mail(email):
    first, second = (
        re.sub(rb"={15}\d+==", b"BOUNDARY", mime.build_envelope(email()).payload) for _ in range(2)
    )

    assert first == second


def test_a_text_is_always_there_and_comes_first(email):
    parsed = read(email())

    parts = [(part.get_content_type(), part.get_payload(decode=True)) for part in parsed.walk()]

    assert parts == [
        ("multipart/alternative", None),
        ("text/plain", b"Hello Ada\r\n"),
        ("text/html", b"<p>Hello Ada</p>\r\n"),
    ]


def test_a_mail_may_be_text_only(email):
    assert read(email(html_body=None)).get_content_type() == "text/plain"


def test_every_line_is_short_ascii_ended_by_crlf(email):
    payload = mime.build_envelope(email(subject="é" * 200, text_body="ü" * 3000 + "\n.\n")).payload

    lines = payload.split(b"\r\n")

    assert payload.isascii()
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    assert max(map(len, lines)) <= 78


@pytest.mark.parametrize(
    ("address", "on_the_wire"),
    [
        ("ada+lists@example.org", "ada+lists@example.org"),
        ('"john smith"@example.org', '"john smith"@example.org'),
        (r'"a\"b@c"@example.org', r'"a\"b@c"@example.org'),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_unusual_addresses_are_the_same_outside_and_inside(email, address, on_the_wire):
    envelope = mime.build_envelope(email(recipient=address))

    assert envelope.recipient == on_the_wire
    assert f"<{on_the_wire}>".encode() in envelope.payload
    assert not envelope.needs_utf8


def test_an_address_without_an_ascii_form_needs_a_server_that_knows_utf8(email):
    envelope = mime.build_envelope(email(recipient="jürgen@example.org"))

    assert envelope.needs_utf8
    assert "<jürgen@example.org>".encode() in envelope.payload


def test_an_invalid_address_is_rejected_permanently(email):
    with pytest.raises(RecipientRejectedError, match="553"):
        mime.build_envelope(email(recipient="ada@nowhere"))


@pytest.mark.parametrize("field", ["subject", "recipient_name"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_no_header_can_be_injected(email, field, end):
    evil = replace(email(), **{field: f"Hello{end}Bcc: eve@example.org"})

    with pytest.raises(ValueError, match=r"CR or LF|linefeed or carriage return"):
        mime.build_envelope(evil)


def test_a_name_with_a_comma_is_one_recipient(email):
    name = 'Lovelace, Ada "the first", <eve@example.org>, é' + "x" * 60 + ", <eve@example.org>"

    parsed = read(email(recipient_name=name))

    assert recipients(parsed) == [(name, "ada@example.org")]


def test_a_name_that_looks_encoded_is_shown_as_it_is(email):
    name = "=?utf-8?q?Eve?="

    parsed = read(email(recipient_name=name, subject=f"Welcome, {name}"))

    assert recipients(parsed) == [(name, "ada@example.org")]
    assert decoded(parsed["Subject"]) == f"Welcome, {name}"


@given(text(characters(), min_size=1, max_size=100))
@hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_name_it_arrives_as_it_was(email, name):
    try:
        stored = names.normalize(name)
    except InvalidNameError:
        return

    parsed = read(email(recipient_name=stored, subject=f"Welcome, {stored}!"))

    assert recipients(parsed) == [(stored, "ada@example.org")]
    assert decoded(parsed["Subject"]) == f"Welcome, {stored}!"
    assert set(parsed.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
        *("Content-Type", "MIME-Version"),
    }
