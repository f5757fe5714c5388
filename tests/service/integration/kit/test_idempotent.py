"""An email is sent again under the same Message-ID, however often its job is delivered."""

import shutil

from actors import send_welcome_email
from shop import people
from workshed import db
from workshed.testing.database import maildir


def test_the_welcome_mail_is_sent_again_under_its_message_id(jobs):
    """The clock is moved past the end of its claim; possible copies are counted."""
    with db.transaction() as conn:
        user = people.create(conn, name="Ada Lovelace", email="ada@example.org")

    endured = jobs.assert_idempotent(
        send_welcome_email, user.id, ignore=["emails.attempts", "emails.possible_duplicates"]
    )

    assert endured.repeated_mails > 0
    assert len(jobs.mailbox) <= 2


def test_mails_that_were_repeated_before_are_not_counted(jobs):
    with db.transaction() as conn:
        user = people.create(conn, name="Ada Lovelace", email="ada@example.org")
    jobs.perform(send_welcome_email, user.id)
    [sent] = (jobs._folder / maildir.NAME / "new").iterdir()
    shutil.copy(sent, sent.with_name(sent.name.replace("Q", "Q9", 1)))
    assert len(jobs.mailbox) == 2

    endured = jobs.assert_idempotent(send_welcome_email, user.id)

    assert endured.repeated_mails == 0
