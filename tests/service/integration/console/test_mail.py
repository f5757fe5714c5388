"""`workshed mail`: failing servers, and emails that may have arrived twice."""

import re

import pytest

from shop import people
from tests.service.integration.console import kinds
from workshed import db
from workshed.contrib.mail import servers

pytestmark = pytest.mark.usefixtures("database", "broker")


@pytest.fixture
def held_email(database):
    """The id of a held email, whose server accepts none."""
    with db.transaction() as conn:
        people.create(conn, name="Grace", email=kinds.GRACE)
    return kinds.mail_in_doubt()


def state(email_id):
    query = "SELECT state, held_at IS NOT NULL FROM workshed_mail.emails WHERE id = %s"
    with db.transaction() as conn:
        return conn.execute(query, (email_id,)).fetchone()


def test_it_shows_the_servers_reply_and_the_held_mails(workshed, held_email):
    done = workshed("mail")

    assert done.code == 0, done.err
    assert "mail.example.org:25  accepts no emails, since" in done.out
    assert re.search(r"next attempt in 1h", done.out)
    assert "it answered 421 closing" in done.out
    assert kinds.GRACE in done.lines[-1]
    found = workshed("mail", "list", "--json").json
    assert [one["id"] for one in found["held"]] == [held_email]
    assert [one["name"] for one in found["servers"]] == [kinds.SERVER]


def test_it_says_that_all_is_well(workshed):
    done = workshed("mail")

    assert (done.code, done.out) == (0, "")
    assert "accepts emails, and none is held" in done.err


def test_a_mail_is_sent_once_more(workshed, held_email, conn):
    done = workshed("mail", "release", str(held_email), "--yes")

    assert (done.code, done.out) == (0, f"{held_email}  is sent once more\n")
    assert state(held_email) == ("pending", False)
    query = "SELECT count(*) FROM workshed.schedule WHERE actor = 'deliver_email'"
    assert conn.execute(query).fetchone() == (1,)


def test_a_mail_is_taken_for_sent(workshed, held_email, conn):
    done = workshed("mail", "arrived", str(held_email), "--yes")

    assert (done.code, done.out) == (0, f"{held_email}  is marked as sent\n")
    assert state(held_email) == ("sent", False)
    assert conn.execute("SELECT count(*) FROM workshed.schedule").fetchone() == (0,)


@pytest.mark.parametrize("word", ["release", "arrived"])
def test_a_mail_that_is_not_held_is_not_known(workshed, held_email, word):
    done = workshed("mail", word, str(held_email + 1), "--yes")

    assert done.code == 5
    assert f"no mail {held_email + 1} is held" in done.err


def test_a_server_is_tried_at_once(workshed, held_email):
    done = workshed("mail", "try", kinds.SERVER)

    assert done.out == f"{kinds.SERVER}  is tried again\n"
    assert workshed("mail", "try", kinds.SERVER).out == f"{kinds.SERVER}  was not held\n"
    with db.transaction() as conn:
        [trouble] = servers.list_troubles(conn)
    assert trouble.circuit_open_until <= trouble.now


def test_an_unknown_server_is_reported(workshed, held_email):
    done = workshed("mail", "try", "mail.example.org:26")

    assert done.code == 5
    assert "(did you mean 'mail.example.org:25'?)" in done.err
