"""Users as rows."""

import psycopg
import pytest

from shop import people
from workshed.jobs import RecordMissing


@pytest.fixture
def ada(conn):
    return people.create(conn, name=" Ada  Lovelace", email="Ada@EXAMPLE.org")


def test_a_person_is_found_as_stored(conn, ada):
    assert people.get_user(conn, ada.id) == ada
    assert (ada.name, ada.email) == ("Ada Lovelace", "Ada@example.org")


@pytest.mark.parametrize("address", ["ada@example.org", "ADA@Example.ORG"])
def test_an_address_is_taken_in_any_case(conn, ada, address):
    with pytest.raises(people.AddressTakenError):
        people.create(conn, name="Eve", email=address)

    assert people.get_user(conn, ada.id) == ada  # the transaction goes on


@pytest.mark.parametrize(
    ("name", "email", "error"),
    [
        ("Ada\r\nBcc: eve@example.org", "a@example.org", people.InvalidNameError),
        ("Ada", "a@example.org\r\nBcc: eve@example.org", people.InvalidAddressError),
    ],
)
def test_header_injection_is_refused_before_anything_is_written(conn, name, email, error):
    with pytest.raises(error):
        people.create(conn, name=name, email=email)

    assert conn.execute("SELECT count(*) FROM shop.users").fetchone() == (0,)


def test_the_database_refuses_line_breaks_that_come_another_way(conn):
    for end in ("\n", "\r", "\x85", "\u2028", "\x0b", "\x1c"):
        query = "INSERT INTO shop.users (name, email) VALUES (%s, 'a@b.test')"
        with pytest.raises(psycopg.errors.CheckViolation, match="users_name"), conn.transaction():
            conn.execute(query, (f"A{end}B",))


def test_an_unknown_user_is_a_missing_record(conn):
    for act in (people.get_user, people.mark_activated, people.mark_unsubscribed):
        with pytest.raises(RecordMissing, match="user 404"):
            act(conn, 404)


@pytest.mark.parametrize("act", [people.mark_activated, people.mark_unsubscribed])
def test_the_reminder_to_cancel_is_returned_once(conn, ada, act):
    people.mark_welcomed(conn, ada.id, "reminder-1")

    assert act(conn, ada.id) == "reminder-1"
    assert act(conn, ada.id) is None


def test_a_user_without_a_welcome_has_no_reminder_to_cancel(conn, ada):
    assert people.mark_activated(conn, ada.id) is None
    assert people.get_user(conn, ada.id).activated_at is not None


def test_a_second_welcome_does_not_replace_the_reminder(conn, ada):
    people.mark_welcomed(conn, ada.id, "reminder-1")
    people.mark_welcomed(conn, ada.id, "reminder-2")

    assert people.get_user(conn, ada.id).reminder_id == "reminder-1"
