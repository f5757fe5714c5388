"""What `--json` prints is in `docs/operating.md`, and programs rely on it."""

import re
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from workshed.cron import daily
from workshed.jobs import batches, limits, recurring, relays, rules, unique, workers
from workshed.jobs.limits import Ask, Start
from workshed.jobs.recurring import Declared
from workshed.jobs.workers import Held, Process

OPERATING = Path(__file__).parents[3] / "docs" / "operating.md"
BATCH = "00000000-0000-4000-8000-000000000001"
ROW = re.compile(r"\| `workshed (.+?)` \| (?:(a list of) )?(.+) \|")
LINES = OPERATING.read_text("utf-8").splitlines()
ROWS = [found.groups() for found in map(ROW.fullmatch, LINES) if found]


@pytest.fixture
def something(broker, management, conn, store, bury, ran):
    """Something of each kind that a command shows."""
    broker.ensure_queues(set(broker.declared))
    store("waits")
    bury("died")
    ran("ran")
    with conn.transaction():
        conn.execute(*batches.opening(BATCH, "greetings", {}))
        conn.execute(*batches.joining(BATCH, ["waits"]))
        conn.execute(*batches.closing(BATCH))
    limits.take(conn, [Ask("crm", "concurrent", 2)], Start(uuid4(), "waits", "greet", "here", 1))
    unique.take(conn, unique.Claim("greet:7", "waits", 0, "greet", "default"))
    workers.beat(conn, Process(uuid4(), "here", 1, 8, ""), 0, [Held("default", *5 * [None])])
    relays.beat(conn, uuid4(), "here", 1)
    recurring.declare(conn, [Declared("nightly", "low", daily("03:00"))])
    rules.make(conn, rules.Which("nobody", None, None, timedelta()))


@pytest.mark.usefixtures("something")
@pytest.mark.parametrize(("words", "many", "keys"), ROWS, ids=[words for words, _, _ in ROWS])
def test_the_table_of_the_document_is_what_is_printed(workshed, words, many, keys):
    """A key that is renamed breaks scripts of people who never read this repository."""
    names = {"ID": "waits", "BATCH": BATCH, "KEY": "greet:7", "NAME": "nightly", "RULE": "1"}
    names |= {"QUEUE": "emails", "ACTOR": "deliver_email 7", "WORKER": "here:1"}
    if words.startswith("dead"):
        names["ID"] = "died"
    wanted = " ".join(names.get(word, word) for word in words.split()).split()

    found = workshed(*wanted, "--json").json

    assert isinstance(found, list) == bool(many)
    first = found[0] if many else found
    assert list(first) == re.findall(r"`(\w+)`", keys)


def test_migrations_tell_what_was_applied_just_now_and_what_is_pending(
    workshed, env, empty_database_url
):
    env(DATABASE_URL=empty_database_url)

    pending = workshed("migrate", "--status", "--json").json
    applied = workshed("migrate", "--json").json

    assert {one["applied_at"] for one in pending} == {None}
    assert [one["name"] for one in applied] == [one["name"] for one in pending]
    assert all(one["applied_at"] for one in applied)
    assert workshed("migrate", "--json").json == []


def test_the_table_is_found():
    assert len(ROWS) > 20
