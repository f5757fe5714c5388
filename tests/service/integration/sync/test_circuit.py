"""A failing source is left alone, and then probed by one job."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from actors import sync_record
from shop import sync
from shop.sync import sources
from shop.sync.errors import (
    SourceBusyError,
    SourceFailedError,
    WrongAnswerError,
)
from tests.service.integration.sync.conftest import SIX, drain, fetch
from workshed import db


def test_a_source_that_fails_is_left_alone_for_a_while(jobs, six, state):
    six.queue_faults(*["500"] * sources.FAILURE_THRESHOLD)
    for name in SIX:
        sync_record.send("crm", name)
    drain(jobs)

    assert len(six.requests) == sources.FAILURE_THRESHOLD
    assert jobs.runs[-1].outcome.kind == "snoozed"
    assert state().circuit_open_until is not None


def test_then_one_job_probes_and_the_others_wait_for_its_result(jobs, six, state):
    six.queue_faults(*["500"] * sources.FAILURE_THRESHOLD)
    for _ in range(sources.FAILURE_THRESHOLD):
        with pytest.raises(SourceFailedError):
            fetch("a")
    jobs.advance(seconds=31)

    with db.transaction() as conn:
        leave = sync.acquire_permit(conn, "crm")
    with pytest.raises(sources.Snooze), db.transaction() as conn:
        sync.acquire_permit(conn, "crm")
    sync.fetch_record(leave, "a")

    assert state().circuit_open_until is None
    with db.transaction() as conn:
        assert sync.acquire_permit(conn, "crm").failures == 0


def test_a_source_that_is_held_holds_no_other(jobs, six, use):
    with db.transaction() as conn:
        sync.add(conn, "shop", six.origin)
    use(SYNC_TOKENS="crm=sesame shop=sesame")
    six.queue_faults("429:40")
    with pytest.raises(SourceBusyError):
        fetch("a")

    for source in ("crm", "shop"):
        sync_record.send(source, "a")
    jobs.drain()

    assert [run.outcome.kind for run in jobs.runs] == ["snoozed", "succeeded"]


def test_of_two_that_look_at_once_one_asks(jobs, six, eventually, rows):
    six.queue_faults("429:40")
    with pytest.raises(SourceBusyError):
        fetch("a")
    jobs.advance(seconds=41)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"

    with ThreadPoolExecutor(1) as threads:
        with db.transaction() as conn:
            sync.acquire_permit(conn, "crm")
            other = threads.submit(fetch, "a")
            eventually(lambda: rows(waiting) == [(1,)])  # it waits for this transaction's claim
        with pytest.raises(sources.Snooze):
            other.result()
    assert six.requests == ["GET /records/a"]


def test_it_rests_for_longer_each_time(jobs, six, state):
    jobs.freeze()
    six.queue_faults(*["500"] * 30)
    rests = []
    for _ in range(sources.FAILURE_THRESHOLD + 8):
        with pytest.raises(SourceFailedError):
            fetch("a")
        if found := state().circuit_open_until:
            rests.append((found - state().now).total_seconds())
            jobs.advance(seconds=rests[-1] + 1)

    assert rests == [30, 60, 120, 240, 480, 900, 900, 900, 900]


def test_a_source_with_retry_after_gets_no_request_before(jobs, six, state):
    jobs.freeze()
    six.queue_faults("429:40")
    for name in "abc":
        sync_record.send("crm", name)
    drain(jobs)

    assert len(six.requests) == 1
    assert (state().circuit_open_until - state().now).total_seconds() == 40


def test_an_answer_from_before_closes_no_circuit(jobs, six, state):
    jobs.freeze()
    with db.transaction() as conn:
        early, late = sync.acquire_permit(conn, "crm"), sync.acquire_permit(conn, "crm")
    jobs.advance(seconds=1)
    six.queue_faults("429:40")
    with pytest.raises(SourceBusyError):
        sync.fetch_record(late, "a")

    with sources.recording_result(replace(early, failures=1)):
        pass  # it succeeds, but with the state of the source when it began

    assert state().circuit_open_until is not None


def test_errors_that_say_nothing_of_the_source_open_no_circuit(jobs, six, state):
    six.queue_faults(*["wrong-type"] * 9)
    for _ in range(9):
        with pytest.raises(WrongAnswerError):
            fetch("a")

    assert state().circuit_open_until is None
