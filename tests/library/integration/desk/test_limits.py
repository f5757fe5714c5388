"""Limits: how much of each is used, by which jobs, which jobs wait, and until when."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tests.library.integration.desk.conftest import quoted
from workshed.jobs.locks import limits
from workshed.jobs.locks.limits import JobStart, SlotRequest


@pytest.fixture
def come(conn):
    """`come("a", SlotRequest(…))`: a job requests a slot, and waits if it gets none."""

    def come(job, ask):
        if (
            limits.acquire_slots(conn, [ask], JobStart(uuid4(), job, "sync", "web-1", 77))
            is not None
        ):
            limits.enqueue_waiter(conn, [ask], job, 1)

    return come


def ids(people):
    return [one["message_id"] for one in people]


def test_limits_are_listed_with_holders_and_waiters(operator, come):
    for job in "abc":
        come(f"{job}1", SlotRequest('sync:concurrent:["acme"]', "concurrent", 2, share="acme"))
        come(f"{job}2", SlotRequest("sync:window", "window", 1, timedelta(minutes=10)))
    come("d", SlotRequest("mail:bucket", "bucket", 20, timedelta(hours=2)))

    bucket, concurrent, window = operator.json("/limits")["limits"]
    text = operator.get("/limits").text

    assert (bucket["key"], bucket["used"], bucket["size"]) == ("mail:bucket", 1, 20)
    assert (concurrent["used"], concurrent["waiting"], concurrent["next_at"]) == (2, 1, None)
    assert ids(concurrent["holders"]) == ["a1", "b1"]
    assert ids(concurrent["waiters"]) == ["c1"]
    assert (window["holders"], ids(window["waiters"])) == ([], ["b2", "c2"])
    assert '<a href="/job?id=a1">sync</a>' in text
    assert "web-1:77" in text
    assert "for acme" in text
    assert "starts per 10m" in text
    assert "starts, one more every 2h" in text
    assert "when a running job ends" in text


def test_without_a_limit_in_use_the_page_says_so(operator):
    assert operator.json("/limits") == {"limits": [], "more": None}
    assert "limit=" in operator.get("/limits").text
    assert "No matching limits in use" in operator.get("/limits?key=nothing").text


def test_the_list_names_a_few_jobs_and_the_page_of_a_limit_all(operator, come):
    for number in range(10):
        come(f"job-{number}", SlotRequest("crm", "concurrent", 5))

    [listed] = operator.json("/limits")["limits"]
    [alone] = operator.json("/limits?key=crm")["limits"]

    assert (ids(listed["holders"]), listed["used"]) == (["job-0", "job-1", "job-2"], 5)
    assert (len(alone["holders"]), len(alone["waiters"])) == (5, 5)
    assert operator.get("/limits").text.count(">more</a>") == 2
    assert ">more</a>" not in operator.get("/limits?key=crm").text


def test_limits_with_waiting_jobs_can_be_selected(operator, come):
    come("a", SlotRequest("crm", "concurrent", 1))
    come("b", SlotRequest("crm", "concurrent", 1))
    come("c", SlotRequest("mail", "concurrent", 1))

    assert [one["key"] for one in operator.json("/limits?waiting=1")["limits"]] == ["crm"]


def test_each_limit_is_on_one_page(operator, come):
    for number in range(60):
        come("a", SlotRequest(f"crm:{number:02}", "concurrent", 1))

    first = operator.json("/limits")
    second = operator.json(f"/limits?before={quoted(first['more'])}")

    found = [one["key"] for one in first["limits"] + second["limits"]]
    assert found == [f"crm:{number:02}" for number in range(60)]
    assert second["more"] is None
    assert operator.get("/limits?before=crm").status_code == 400


def test_text_from_outside_is_escaped(operator, come):
    come("<i>a</i>", SlotRequest("<b>crm</b>", "concurrent", 1, share="<s>acme</s>"))

    text = operator.get("/limits").text

    assert "&lt;b&gt;crm&lt;/b&gt;" in text
    for tag in ("<b>", "<i>", "<s>"):
        assert tag not in text
