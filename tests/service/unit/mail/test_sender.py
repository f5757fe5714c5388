"""The sender of the emails."""

import pytest

from workshed.contrib.mail.sender import get_sender
from workshed.errors import SettingsError


def test_the_default_is_a_name_and_an_address(configure):
    assert (get_sender().display_name, get_sender().addr_spec) == (
        "Workshed",
        "hello@workshed.invalid",
    )


def test_an_international_domain_is_written_in_ascii(configure):
    configure(mail_from="Bücher <hallo@bücher.example>")

    assert get_sender().addr_spec == "hallo@xn--bcher-kva.example"


def test_an_address_alone_will_do(configure):
    configure(mail_from="hello@example.org")

    assert (get_sender().display_name, get_sender().addr_spec) == ("", "hello@example.org")


@pytest.mark.parametrize("text", ["stranger", "a@", "@b", "a <b@c>\nBcc: d@e.f"])
def test_anything_else_is_refused_by_the_name_of_the_setting(configure, text):
    configure(mail_from=text)

    with pytest.raises(SettingsError, match="WORKSHED_MAIL_FROM"):
        get_sender()
