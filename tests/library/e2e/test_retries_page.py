"""The example of docs/retries.md, run as printed."""

import pytest
from psycopg import sql

from tests import pages

[(NAME, TEXT)] = pages.files("docs/retries.md").items()

GATEWAY = """
from dataclasses import dataclass
from datetime import timedelta

from workshed import db

class BankClosedError(Exception): ...
class RefundedError(Exception): ...
class CardRefusedError(Exception): ...

@dataclass
class Answer:
    busy: bool = False
    at_night: bool = False
    retry_after: timedelta = timedelta(minutes=2)

SAYS = {
    "timeout": TimeoutError("no answer"),
    "lost": ConnectionError("reset"),
    "closed": BankClosedError("on Sundays"),
    "refunded": RefundedError("twice"),
    "refused": CardRefusedError("stolen"),
    "busy": Answer(busy=True),
    "night": Answer(at_night=True),
    "well": Answer(),
}

def charge(payment_id):
    with db.transaction() as conn:
        (says,) = conn.execute(
            "SELECT gateway_says FROM store.payments WHERE id = %s", (payment_id,)
        ).fetchone()
    if isinstance(SAYS[says], Exception):
        raise SAYS[says]
    return SAYS[says]
"""

SEND = """
import payments
from workshed import db, schedule
with db.transaction() as conn:
    for number in range(1, 11):
        schedule.send(conn, payments.charge.message(number))
"""

PAYMENTS = (
    "timeout",
    "lost",
    "closed",
    "refunded",
    "refused",
    "busy",
    "night",
    "well",
    "cancelled",
)


@pytest.fixture
def project(tmp_path, conn):
    """A folder with the file of the page, and the payments it works on; number 10 is missing."""
    (tmp_path / NAME).write_text(TEXT)
    (tmp_path / "gateway.py").write_text(GATEWAY)
    conn.autocommit = True
    conn.execute("""
        CREATE SCHEMA store;
        CREATE TABLE store.payments (id bigint, gateway_says text, cancelled boolean);
        CREATE TABLE store.notes (payment_id bigint, note text);
        CREATE TABLE store.complaints (message_id text, reason text);
    """)
    for number, says in enumerate(PAYMENTS, start=1):
        row = (number, says, says == "cancelled")
        conn.execute("INSERT INTO store.payments VALUES (%s, %s, %s)", row)


@pytest.fixture
def the_clock_stands(conn, project):
    """Stop the clock, so that waiting jobs keep waiting however long the test takes."""
    (now,) = conn.execute("SELECT now()").fetchone()
    query = """
        CREATE OR REPLACE FUNCTION workshed.now() RETURNS timestamptz LANGUAGE sql STABLE RETURN {}
    """
    conn.execute(sql.SQL(query).format(now))


@pytest.mark.fresh_database
def test_the_example_does_what_its_page_says(
    project, the_clock_stands, start_worker, run, environment, conn, eventually
):
    def ask(query):
        return dict(conn.execute(query).fetchall())

    start_worker("payments")

    code, said = run("-c", SEND, **environment)

    assert code == 0, said
    settled = "SELECT message_id, 1 FROM workshed.completed_generations"
    eventually(lambda: len(ask(settled)) == 11)  # ten payments and a complaint
    complaints, notes = "SELECT reason, 1 FROM store.complaints", "SELECT * FROM store.notes"
    eventually(lambda: len(ask(notes)) >= 3)
    stored = "SELECT 1, count(*) FROM workshed.schedule"  # a relay deletes a row once it was sent
    eventually(lambda: ask(stored) == {1: 5})
    assert list(ask(complaints)) == ["CardRefusedError: stolen"]
    assert ask(notes) == {
        4: "RefundedError: twice",
        9: "its buyer has cancelled",
        10: "payment 10 does not exist",
    }
    waiting = ask("""
        SELECT (body::json #>> '{args,0}')::int,
               (queue, round(extract(epoch FROM due_at - created_at) / 60), reason)::text
          FROM workshed.schedule
    """)
    assert waiting.keys() == {1, 2, 3, 6, 7}
    assert waiting[1] in ("(payments,0,retry)", "(payments,1,retry)")
    assert waiting[2] == "(payments_later,0,retry)"
    assert waiting[3] == "(payments,5,retry)"
    assert waiting[6] == "(payments,2,retry)"
    assert waiting[7] == "(payments,360,snoozed)"
