"""The audit: actions of operators are written once, and shown."""

import psycopg
import pytest

from workshed.jobs.control import audit


def noted(conn, user_name="olga", action="dead.retry", count=3):
    """Record an entry."""
    return audit.record_entry(
        conn,
        performed_by=user_name,
        action=action,
        details={"id": ["1"]},
        count=count,
        summary=f"{count} retried.",
    )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE workshed.audit SET performed_by = 'stranger'",
        "DELETE FROM workshed.audit",
        "DELETE FROM workshed.audit WHERE false",
        "TRUNCATE workshed.audit",
    ],
)
def test_nothing_that_was_written_is_changed(conn, change):
    noted(conn)

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        conn.execute(change)

    assert conn.execute("SELECT performed_by FROM workshed.audit").fetchall() == [("olga",)]


def test_entries_are_found_by_person_and_by_action(reader, conn):
    noted(conn)
    noted(conn, user_name="rita")
    noted(conn, action="queues.pause")

    everything = reader.json("/audit")["entries"]
    of_rita = reader.json("/audit?by=rita")["entries"]
    pauses = reader.json("/audit?action=queues.pause")["entries"]

    assert [one["performed_by"] for one in everything] == ["olga", "rita", "olga"]
    assert [one["performed_by"] for one in of_rita] == ["rita"]
    assert [one["action"] for one in pauses] == ["queues.pause"]
    assert everything[0]["details"] == {"id": ["1"]}


def test_older_entries_are_on_the_next_page(reader, conn):
    numbers = [noted(conn, count=n) for n in range(60)]

    first = reader.json("/audit")
    second = reader.json(f"/audit?before={first['older']}")

    assert [one["id"] for one in first["entries"] + second["entries"]] == numbers[::-1]
    assert second["older"] is None
    assert f"before={first['older']}" in reader.get("/audit").text


def test_an_empty_audit_explains_itself(reader):
    assert "No entries yet" in reader.get("/audit").text
