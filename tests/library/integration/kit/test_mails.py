"""Mails that actors send end up in the test's own folder."""

from pathlib import Path

from workshed.contrib.mail import maildir
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.settings import settings


def send(actor, *subjects):
    """Send mails in one job."""

    def deliver():
        for subject in subjects:
            text = f"Subject: {subject}\r\n\r\nHello\r\n".encode()
            maildir.store_mail(folder(), Envelope("a@example.org", "b@example.org", text))

    return actor(actor_name="deliver")(deliver)


def folder():
    return Path(settings().smtp_url.get_secret_value().removeprefix("maildir:"))


def test_mails_are_read_the_oldest_first(jobs, actor):
    """Their file names contain the time, which is stopped here, so a counter orders them."""
    jobs.freeze()

    jobs.perform(send(actor, *map(str, range(20))))

    assert [message["Subject"] for message in jobs.mailbox] == [str(n) for n in range(20)]
    assert jobs.mailbox[0].get_content() == "Hello\n"


def test_the_next_test_has_a_folder_of_its_own(jobs):
    assert jobs.mailbox == []
    assert not folder().is_relative_to("var")
