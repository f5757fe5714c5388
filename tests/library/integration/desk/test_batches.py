"""Batches: their progress, their jobs, and how unfinished jobs are retried or cancelled."""

import re

import pytest

from tests.library.integration.console.conftest import bury, dies, make_batch, ran, store
from tests.library.integration.desk.conftest import quoted
from workshed.console.web.pages import batches as page
from workshed.jobs.batches import batches, progress
from workshed.jobs.control import audit
from workshed.jobs.outbox import schedule

__all__ = ["bury", "dies", "make_batch", "ran", "store"]


# The list


def test_batches_are_listed_with_their_progress(operator, make_batch, dies, conn):
    make_batch("a", "b", "c")
    second = make_batch("d", description="")
    batches.end_batch_job(conn, "a", "succeeded")
    dies("b")
    batches.end_batch_job(conn, "d", "succeeded")

    latest, first = operator.json("/batches")["batches"]
    text = operator.get("/batches").text

    assert (first["state"], first["ended"], first["total"], first["dead"]) == ("running", 2, 3, 1)
    assert (latest["id"], latest["state"], latest["is_counted"]) == (second, "succeeded", True)
    assert "June&#39;s invoices" in text
    assert re.findall(r'<rect data-state="(\w+)" x="([\d.]+)" width="([\d.]+)"', text) == [
        ("succeeded", "0.0", "100.0"),
        ("succeeded", "0.0", "33.33"),
        ("dead", "33.33", "33.33"),
    ]
    assert "<small>1 succeeded, 1 dead</small>" in text
    assert f">{second}</a>" in text


def test_without_a_batch_the_page_says_so(operator):
    assert operator.json("/batches") == {"batches": [], "older": None}
    assert "batch.adding(conn)" in operator.get("/batches").text


def test_succeeded_batches_can_be_left_out(operator, make_batch, conn):
    running = make_batch("a")
    make_batch()

    found = operator.json("/batches?unfinished=1")["batches"]

    assert [one["id"] for one in found] == [running]
    batches.end_batch_job(conn, "a", "succeeded")
    assert "No matching batches" in operator.get("/batches?unfinished=1").text


def test_each_batch_is_on_one_page_even_if_many_were_made_at_once(operator, make_batch, conn):
    made = {make_batch() for _ in range(60)}
    conn.execute("UPDATE workshed.batches SET created_at = '2026-01-01T00:00Z'")

    first = operator.json("/batches")
    second = operator.json(f"/batches?before={quoted(first['older'])}")

    found = [one["id"] for one in first["batches"] + second["batches"]]
    assert (len(found), set(found), second["older"]) == (60, made, None)
    assert operator.get('/batches?before=["2026-01-01T00:00Z","no id"]').status_code == 400


def test_the_list_does_not_count_all_jobs_of_a_large_batch(operator, make_batch, monkeypatch):
    monkeypatch.setattr(page, "MOST_COUNTED", 2)
    batch = make_batch("a", "b", "c", "d")

    [found] = operator.json("/batches")["batches"]

    assert (found["pending"], found["is_counted"]) == (3, False)
    text = operator.get("/batches").text
    assert "too many to count here" in text
    assert 'data-label="Total">&gt;&nbsp;2</td>' in text
    assert operator.json(f"/batch?id={batch}")["batch"]["pending"] == 4


# A single batch


def test_a_batch_is_shown_with_its_jobs_and_callbacks(operator, make_batch, dies, ran, conn):
    batch = make_batch("a", "b", "c")
    dies("b")
    ran("c", actor="wave")
    conn.execute("DELETE FROM workshed.schedule WHERE message_id = 'c'")
    batches.end_batch_job(conn, "c", "succeeded")

    found = operator.json(f"/batch?id={batch}")
    text = operator.get(f"/batch?id={batch}").text

    jobs = [(one["message_id"], one["state"], one["actor"]) for one in found["jobs"]]
    assert jobs == [("b", "dead", "greet"), ("a", "pending", "greet"), ("c", "succeeded", "wave")]
    assert found["jobs"][0]["reason"] == "failed 3 times: ValueError: no"
    assert (found["batch"]["dead"], found["batch"]["state"]) == (1, "running")
    assert [(one["event"], one["sent_at"]) for one in found["callbacks"]] == [("success", None)]
    assert '<a href="/job?id=b">greet</a>' in text
    assert "failed 3 times: ValueError: no" in text
    assert "scheduled, due" in text
    assert "not yet" in text


def test_a_sent_callback_is_a_job(operator, make_batch, conn):
    batch = make_batch("a")
    batches.end_batch_job(conn, "a", "succeeded")

    found = operator.json(f"/batch?id={batch}")

    assert found["callbacks"][0]["sent_at"]
    job_id = quoted(f"callback of {batch}")
    assert f'<a href="/job?id={job_id}">report</a>' in operator.get(f"/batch?id={batch}").text


def test_its_jobs_are_paged_and_chosen_by_state(operator, make_batch, conn):
    batch = make_batch(*(f"job-{number:02}" for number in range(60)))
    batches.end_batch_job(conn, "job-07", "cancelled")

    first = operator.json(f"/batch?id={batch}")
    second = operator.json(f"/batch?id={batch}&before={quoted(first['more'])}")
    cancelled = operator.json(f"/batch?id={batch}&state=cancelled")["jobs"]

    found = [one["message_id"] for one in first["jobs"] + second["jobs"]]
    assert found[:2] == ["job-07", "job-00"]
    assert (len(set(found)), second["more"]) == (60, None)
    assert [one["message_id"] for one in cancelled] == ["job-07"]
    assert operator.get(f"/batch?id={batch}&state=late").status_code == 400
    assert "No such jobs in this batch" in operator.get(f"/batch?id={batch}&state=dead").text


@pytest.mark.parametrize("batch", ["", "stranger's", "00000000-0000-4000-8000-000000000000"])
def test_an_unknown_batch_is_not_found(operator, batch):
    assert operator.get(f"/batch?id={quoted(batch)}").status_code == 404
    assert operator.post("/batches/retry", {"id": batch}).status_code == 404
    assert operator.post("/batches/cancel", {"id": batch}).status_code == 404


def test_text_from_outside_is_escaped(operator, make_batch, dies):
    batch = make_batch("<b>a</b>", description="<i>June</i>\nJuly")
    dies("<b>a</b>", reason="<u>no</u>", actor="<s>greet</s>")

    for path in ("/batches", f"/batch?id={batch}"):
        text = operator.get(path).text
        assert "&lt;i&gt;June&lt;/i&gt;" in text
        for tag in ("<b>", "<i>", "<u>", "<s>"):
            assert tag not in text


# Retry


def test_dead_jobs_of_a_batch_are_retried_after_a_confirmation(operator, make_batch, dies, conn):
    batch = make_batch("a", "b", "c")
    dies("a")
    dies("b", body=b"not JSON")

    asked = operator.post("/batches/retry", {"id": batch}).text
    assert "This would retry 1 job. 1 job cannot be read and stays dead." in asked
    assert progress.get_progress(conn, batch).dead == 2
    assert audit.list_entries(conn) == []

    said = operator.submit("/batches/retry", {"id": batch, "sure": "yes"})

    assert said == "a: retried; b: cannot be read."
    assert progress.get_progress(conn, batch).dead == 1
    assert {row.message_id: row.reason for row in schedule.list_scheduled(conn)}["a"] == "redriven"
    [entry] = audit.list_entries(conn)
    assert (entry.action, entry.count, entry.details) == ("batches.retry", 1, {"batch": batch})


def test_the_page_says_how_many_of_many_dead_jobs_are_left(
    operator, make_batch, dies, conn, monkeypatch
):
    monkeypatch.setattr(page, "MOST_PER_CLICK", 1)
    batch = make_batch("a", "b")
    dies("a")
    dies("b")

    said = operator.submit("/batches/retry", {"id": batch, "sure": "yes"})

    assert said == "a: retried. 1 more remains for another click."
    assert progress.get_progress(conn, batch).dead == 1


def test_a_batch_without_dead_jobs_says_so(operator, make_batch):
    said = operator.submit("/batches/retry", {"id": make_batch("a")})

    assert said == "None of its jobs are dead."


# Cancel


def test_a_batch_is_cancelled_after_a_confirmation(operator, make_batch, conn):
    batch = make_batch("a", "b")

    asked = operator.post("/batches/cancel", {"id": batch}).text
    assert f"This would cancel batch {batch} with 2 jobs that have not ended" in asked
    assert progress.get_progress(conn, batch).state == "running"
    assert audit.list_entries(conn) == []

    said = operator.submit("/batches/cancel", {"id": batch, "sure": "yes"})

    assert said.startswith(f"{batch}: cancelled; 2 jobs had not ended.")
    assert progress.get_progress(conn, batch).state == "cancelling"
    assert audit.list_entries(conn)[0].count == 2
    assert "never: the batch was cancelled" in operator.get(f"/batch?id={batch}").text


def test_a_batch_that_has_ended_is_not_cancelled(operator, make_batch, conn):
    batch = make_batch("a")
    batches.end_batch_job(conn, "a", "succeeded")

    answer = operator.post("/batches/cancel", {"id": batch, "sure": "yes"})

    assert answer.status_code == 409
    assert "have ended" in answer.text
    assert "Cancel the batch" not in operator.get(f"/batch?id={batch}").text


def test_a_reader_has_no_buttons(reader, make_batch, dies):
    batch = make_batch("a", "b")
    dies("a")

    text = reader.get(f"/batch?id={batch}").text

    assert "Retry" not in text
    assert "Cancel the batch" not in text
