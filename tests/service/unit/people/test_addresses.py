"""Which addresses are accepted, and in which spelling."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import characters, from_regex, text

from shop.people import InvalidAddressError
from workshed.contrib.mail import addresses

ACCEPTED = {
    "ada@example.org": "ada@example.org",
    "Ada.Lovelace@EXAMPLE.com": "Ada.Lovelace@example.com",
    "ada+lists@example.org": "ada+lists@example.org",
    "ada@mail.test": "ada@mail.test",
    '"john smith"@example.org': '"john smith"@example.org',
    '"a@b"@example.org': '"a@b"@example.org',
    "jürgen@example.org": "jürgen@example.org",
    "ada@bücher.example": "ada@bücher.example",
    "用户@例子.广告": "用户@例子.广告",
}


@pytest.mark.parametrize(("given", "stored"), ACCEPTED.items())
def test_unusual_addresses_are_accepted(given, stored):
    assert addresses.normalize_address(given) == stored


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "ada@",
        "@example.org",
        "ada@localhost",
        "ada@nowhere.invalid",
        "ada@[127.0.0.1]",
        "Ada <ada@example.org>",
        "ada@example.org, eve@example.org",
        "ada@example.org\r\nBcc: eve@example.org",
        "ada\n@example.org",
        '"ada\r\nRCPT TO:<eve@example.org>"@example.org',
        "ada\0@example.org",
        "ada@example.org ",
        "a" * 250 + "@example.org",
    ],
)
def test_addresses_that_cannot_receive_mail_are_refused(address):
    with pytest.raises(InvalidAddressError):
        addresses.normalize_address(address)


def test_a_refusal_shows_the_address_on_one_line():
    with pytest.raises(InvalidAddressError) as refused:
        addresses.normalize_address("ada\n@example.org")

    assert "\n" not in str(refused.value)


def test_a_domain_has_an_ascii_form_on_the_wire():
    assert addresses.encode_address("ada@bücher.example") == "ada@xn--bcher-kva.example"


def test_letters_before_the_at_sign_have_no_ascii_form():
    assert addresses.encode_address("jürgen@example.org") == "jürgen@example.org"


@given(text(characters(codec="utf-8"), max_size=40), from_regex(r"[a-z]{1,8}\.org", fullmatch=True))
def test_no_accepted_address_can_end_a_line(local, domain):
    try:
        address = addresses.normalize_address(f"{local}@{domain}")
    except InvalidAddressError:
        return

    assert len(address.splitlines()) == 1
    assert "\0" not in address


@given(from_regex(r"[A-Za-z0-9+._-]{1,20}@[A-Za-z0-9-]{1,20}\.(org|test|example)", fullmatch=True))
def test_normalizing_twice_changes_nothing(address):
    try:
        once = addresses.normalize_address(address)
    except InvalidAddressError:
        return

    assert addresses.normalize_address(once) == once


NAMES = ["", "info", "PostMaster", "Ada", "a.b", ".a", "a..b", "x+y", "é", "a b", "b\n"]
DOMAINS = ["test", "EXAMPLE.org", "xn--bcher-kva.example", "-x.de", "x.de.", "d" * 64 + ".de"]
PARTS = st.sampled_from([*NAMES, *DOMAINS, "x" * 64, "x" * 65]) | text(
    alphabet="aZ0.-_+ é'!", max_size=8
)


@given(PARTS, PARTS)
def test_the_fast_check_agrees_with_the_full_one(local, domain):
    """Most addresses have a simple form, which a faster check covers."""
    address = f"{local}@{domain}"
    try:
        expected = addresses._parse(address).normalized
    except InvalidAddressError as err:
        with pytest.raises(InvalidAddressError, match=re.escape(err.reason)):
            addresses.normalize_address(address)
    else:
        assert addresses.normalize_address(address) == expected


def test_an_address_too_long_to_normalize_is_refused_first():
    with pytest.raises(InvalidAddressError, match="characters, at most 254 are allowed"):
        addresses.normalize_address("a" + "\u0301\u0323" * 65_500 + "@example.org")
