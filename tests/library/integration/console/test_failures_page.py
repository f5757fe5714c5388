"""docs/failures.md: the states, sentences and reasons it names, and its example."""

import importlib
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import get_args
from uuid import uuid4

import pytest

from tests import pages
from workshed import broker as sender
from workshed import db
from workshed.console.operations import problems
from workshed.console.web.pages import list_pages as desk_pages
from workshed.jobs.control import workers
from workshed.jobs.control.workers import QueueReport, WorkerIdentity
from workshed.jobs.outbox.schedule import Reason

PAGE = pages.text("docs/failures.md")
[(NAME, TEXT)] = pages.files("docs/failures.md").items()
HERE = WorkerIdentity(uuid4(), "web-1", 101, 8, "")
ENDED = ("succeeded", "discarded", "cancelled")
AGAIN = ("retry", "snoozed", "interrupted", "unknown_actor")
PLACES = {
    "scheduled": lambda make: make.store("a"),
    "on its way": lambda make: make.store("a", reason="outbox_lease"),
    "sent": lambda make: make.store("a", sent=True),
    "running": lambda make: make.run("a"),
    "dead": lambda make: make.bury("a"),
    **{outcome: lambda make, o=outcome: make.ran("a", outcome=o) for outcome in ENDED + AGAIN},
}
"""For each state, how to get a job into it."""


def table(head):
    """Return the rows of the page's table with this first heading, as lists of cells."""
    lines = PAGE.partition(f"\n| {head} |")[2].splitlines()[2:]
    rows = lines[: next(n for n, line in enumerate(lines) if not line)]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def quoted(cell):
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture
def make(conn, store, bury, ran):
    def stored(message_id, *, sent=False, **fields):
        store(message_id, **fields)
        conn.execute("UPDATE workshed.schedule SET sent_at = workshed.now() WHERE %s", (sent,))

    def run(message_id):
        job = {"message_id": message_id, "actor": "greet", "queue": "low", "since": NOW.isoformat()}
        workers.record_heartbeat(conn, HERE, 1, [QueueReport("low", *5 * [None])], running=[job])

    return SimpleNamespace(store=stored, bury=bury, ran=ran, run=run)


NOW = datetime.now(UTC)


def test_the_page_has_every_state():
    assert [word for first, *_ in table("state") for word in quoted(first)] == [
        *("scheduled", "on its way", "sent", "running", *AGAIN, "dead", *ENDED)
    ]


@pytest.mark.parametrize("state", PLACES)
def test_a_job_is_shown_in_each_state(state, workshed, make, database):
    PLACES[state](make)

    assert workshed("job", "a", "--json").json["state"] == state


def test_a_job_without_a_row_is_reported(workshed, database):
    done = workshed("job", "a")

    assert (done.code, "it is on RabbitMQ, was never sent, or ended long ago" in done.err) == (
        5,
        True,
    )


def test_the_page_has_every_reason_of_a_row():
    assert [quoted(first)[0] for first, *_ in table("reason")] == list(get_args(Reason))


def test_the_sentences_that_it_quotes_are_printed(broker, workshed, conn):
    workers.record_heartbeat(conn, HERE, 0, [QueueReport("default", *5 * [None])])
    workshed("queues", "pause", "low")
    said = [
        problems.judge_workers([]).message,
        problems.judge_relay(None).message,
        problems.judge_unattended(["low"], workers.list_workers(conn)).message,
        *(" ".join(line.split("  ")[0].split()) for line in workshed("queues").lines),
        "quiet",
    ]

    for _, _, says, _ in table("you see"):
        assert set(quoted(says)) <= set(said)


def test_the_console_pages_that_it_names_exist():
    titles = {page.title for page in desk_pages()}

    for _, look, *_ in table("you see"):
        named = look.partition("; ")[2]
        assert not named or named in titles


@pytest.fixture
def bank():
    """A bank that charges each key once; its first answer is lost."""
    asked, charged = [], {}

    def charge(order_id, *, idempotency_key):
        asked.append(idempotency_key)
        charged[idempotency_key] = order_id
        if len(asked) == 1:
            raise ConnectionError("no answer")

    return SimpleNamespace(charge=charge, asked=asked, charged=charged)


@pytest.fixture
def charging(jobs, bank, tmp_path, monkeypatch):
    """The module of the page, its actor declared for this test."""
    (tmp_path / NAME).write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "bank", bank)
    with db.transaction() as conn:
        conn.execute("CREATE SCHEMA store")
        conn.execute("""
            CREATE TABLE store.orders (id bigint, asked int DEFAULT 0, charged_at timestamptz)
        """)
        conn.execute("INSERT INTO store.orders VALUES (7)")
    known = sender.actors, sender.queues, sender._signatures
    before = [dict(one) for one in known]
    yield importlib.import_module(Path(NAME).stem)
    del sys.modules[Path(NAME).stem]
    for kept, now in zip(before, known, strict=True):
        now.clear()
        now.update(kept)
    with db.transaction() as conn:
        conn.execute("DROP SCHEMA store CASCADE")


def test_an_order_is_charged_once_and_the_second_request_is_counted(charging, bank, jobs):
    with jobs.expect_retry(after=timedelta(seconds=15)):
        jobs.perform(charging.charge, 7)
    jobs.advance(seconds=15)
    jobs.drain()
    jobs.perform(charging.charge, 7)

    assert (bank.asked, bank.charged) == (["order-7"] * 2, {"order-7": 7})
    with db.transaction() as conn:
        [query] = re.findall(r"`(SELECT count\(\*\) FROM store[^`]+)`", PAGE)
        assert conn.execute(query).fetchone() == (1,)
