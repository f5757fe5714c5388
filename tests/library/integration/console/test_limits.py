"""`workshed limits`: how much is used, which jobs wait, and when the next slot is free."""

import re
from datetime import timedelta
from uuid import uuid4

import pytest

from workshed.jobs.locks import limits
from workshed.jobs.locks.limits import JobStart, SlotRequest

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def come(conn):
    """`come("a", SlotRequest(…))`: a job requests a slot, and waits if it gets none."""

    def come(job, ask):
        if limits.acquire_slots(conn, [ask], JobStart(uuid4(), job, "sync", "here", 1)) is not None:
            limits.enqueue_waiter(conn, [ask], job, 1)
        conn.commit()

    return come


def test_limits_are_listed_with_their_usage_and_waiting_jobs(workshed, come):
    for job in "abc":
        come(f"{job}1", SlotRequest('sync:concurrent:["acme"]', "concurrent", 2))
        come(f"{job}2", SlotRequest("sync:window", "window", 1, timedelta(minutes=10)))
    come("d", SlotRequest("mail:bucket", "bucket", 20, timedelta(hours=2)))

    done = workshed("limits")

    assert done.code == 0
    assert max(map(len, done.lines)) <= 80
    # How long a job has waited depends on the machine.
    words = [re.sub(r"\d+s\b", "AGE", line).split() for line in done.lines[1:]]
    assert words == [
        ["mail:bucket", "1/20", "0", "-", "now"],
        ["bucket", "one", "per", "2h"],
        ['sync:concurrent:["acme"]', "2/2", "1", "AGE", "-"],
        ["concurrent"],
        ["sync:window", "1/1", "2", "AGE", "in", "30m"],
        ["window", "per", "10m"],
    ]


def test_the_json_has_the_time_of_the_next_slot(workshed, come):
    for job in "ab":
        come(job, SlotRequest("sync:window", "window", 1, timedelta(minutes=10)))

    [found] = workshed("limits", "list", "--waiting", "--json").json

    assert (found["key"], found["used"], found["size"], found["waiting"]) == (
        "sync:window",
        1,
        1,
        1,
    )
    assert found["span"] == 600
    assert found["next_at"] > found["waiting_since"]


def test_a_single_limit_is_shown(workshed, come):
    for key in ("sync:concurrent", "mail:concurrent"):
        come(key, SlotRequest(key, "concurrent", 2))

    found = workshed("limits", "--key", "mail:concurrent", "--json").json

    assert [one["key"] for one in found] == ["mail:concurrent"]
    assert found[0]["next_at"]


def test_without_a_limit_in_use_the_list_says_so(workshed):
    assert workshed("limits").err == "No limit is in use.\n"
    assert workshed("limits", "--waiting").err == "No job is waiting for a limit.\n"
