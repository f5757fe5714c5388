"""The Message-ID: one per mail, the same however often it is made."""

from dataclasses import replace

import pytest

from workshed.contrib.mail import Draft
from workshed.contrib.mail.stored_mails import derive_message_id

DRAFT = Draft("welcome", "ada@example.org", "Ada", "Welcome", "Hello", user_id="7")


def test_it_depends_on_nothing_but_the_mail():
    assert derive_message_id(DRAFT) == derive_message_id(
        replace(DRAFT, subject="Hi", text_body="Changed")
    )


@pytest.mark.parametrize(
    "other",
    [{"kind": "reminder"}, {"user_id": "8"}, {"about": "2026-03-01"}, {"recipient": "a@b.test"}],
)
def test_another_mail_has_another(other):
    assert derive_message_id(replace(DRAFT, **other)) != derive_message_id(DRAFT)


def test_it_is_of_the_senders_domain_and_fits_a_line(configure):
    configure(mail_from="Acme <hello@mail.acme.example>")

    assert derive_message_id(DRAFT).startswith("<welcome.")
    assert derive_message_id(DRAFT).endswith("@mail.acme.example>")
    assert len(f"Message-ID: {derive_message_id(DRAFT)}") <= 78
