"""How the actors handle a failing source: what is retried, when, and what is dead."""

import logging

import pytest

import actors
from actors import sync_critical_data, sync_record
from shop import sync
from shop.sync import sources
from shop.sync.errors import (
    ForbiddenAddressError,
    RepeatedCursorError,
    SourceFailedError,
    WrongAnswerError,
)
from tests.service.integration.sync.conftest import SIX, drain, run_all, sent
from workshed import db


def test_a_run_continues_after_the_last_one(jobs, six, kept, monkeypatch):
    calls = []
    real = actors.sync.sync.fetch_page

    def read(turn):
        calls.append(turn.cursor)
        if len(calls) == 2:
            six.queue_faults("502")
        return real(turn)

    monkeypatch.setattr(actors.sync.sync, "fetch_page", read)
    with pytest.raises(SourceFailedError):
        jobs.perform(sync_critical_data, "crm")
    jobs.advance(minutes=1)
    jobs.drain()

    assert calls == [None, "c", "c"]
    assert kept() == dict.fromkeys(SIX, 1)


def test_the_waits_are_those_that_were_asked_for(jobs, six):
    """The backoff is attempt⁴ plus up to 30 s, unless the source sends `Retry-After`."""
    jobs.freeze()
    sync_critical_data.send("crm")
    seconds = []
    for fault in ("500", "429:100", "cut-json", "429"):
        six.queue_faults(fault)
        drain(jobs)
        [job] = jobs.scheduled
        seconds.append(job.delay.total_seconds())
        jobs.advance(seconds=seconds[-1] + 1)

    assert 1 <= seconds[0] <= 31
    assert seconds[1] == 100
    assert 3**4 <= seconds[2] <= 3**4 + 30
    assert 4**4 <= seconds[3] <= 4**4 + 30


def test_after_ten_attempts_it_is_dead(jobs, six, rows):
    six.queue_faults(*["500"] * 10)
    sync_critical_data.send("crm")

    run_all(jobs)

    [dead] = jobs.dead
    assert (dead.actor, dead.attempt) == ("sync_critical_data", 10)
    classes = rows("SELECT error_class, traceback FROM workshed.attempts ORDER BY attempt")
    assert len(classes) == 10
    assert all(name.endswith("SourceFailedError") for name, _ in classes)
    assert all("in _read" in trace for _, trace in classes)


def test_the_error_and_where_it_happened_are_logged(jobs, six, caplog):
    six.queue_faults("html")

    with caplog.at_level(logging.INFO), pytest.raises(WrongAnswerError):
        jobs.perform(sync_critical_data, "crm")

    assert "Down for maintenance" in caplog.text
    assert "WrongAnswerError" in caplog.text


@pytest.mark.parametrize(
    ("fault", "error"),
    [("401", "RefusedRequestError"), ("bomb", "OversizedAnswerError"),
     ("redirect:http://169.254.169.254/", "ForeignRedirectError")],
)  # fmt: skip
def test_errors_that_a_retry_cannot_fix_are_dead_at_once(jobs, six, fault, error):
    six.queue_faults(fault)
    sync_critical_data.send("crm")
    drain(jobs)

    assert [dead.error_class.rpartition(".")[2] for dead in jobs.dead] == [error]
    assert len(jobs.mailbox) == 2


@pytest.mark.parametrize("fault", ["same-cursor", "first-again"])
def test_a_listing_that_goes_round_ends(jobs, six, kept, fault):
    jobs.perform(sync_critical_data, "crm")
    jobs.drain()
    six.queue_faults(fault, fault, fault, fault, at="/records")

    with pytest.raises(RepeatedCursorError, match="comes again"):
        jobs.perform(sync_critical_data, "crm")

    assert sorted(kept()) == list(SIX)
    six._faults.clear()
    jobs.advance(minutes=1)
    jobs.drain()
    assert sorted(kept()) == list(SIX)


def test_a_host_that_is_no_longer_allowed_is_dead_at_once(jobs, six, use):
    use(SYNC_ORIGINS="https://api.example.org")
    sync_critical_data.send("crm")
    drain(jobs)

    assert [dead.error_class.rpartition(".")[2] for dead in jobs.dead] == ["ForbiddenAddressError"]
    with pytest.raises(ForbiddenAddressError), db.transaction() as conn:
        sync.add(conn, "shop", six.origin)


def test_a_record_that_stays_behind_is_asked_for_once_an_hour(jobs, six, rows):
    """Its job retries by itself; otherwise each listing would send another one."""
    six.queue_faults("nul", at="/records/c")
    for _ in range(3):
        sync_critical_data.send("crm")
        drain(jobs)
    assert len(sent(jobs, sync_record)) == 1

    jobs.advance(minutes=61)
    six.queue_faults(*["nul"] * 2, at="/records/c")
    sync_critical_data.send("crm")
    drain(jobs)
    assert len(sent(jobs, sync_record)) == 2


def test_a_record_that_changes_while_it_is_fetched_is_fetched_again(jobs, six, kept, monkeypatch):
    """The key of its job is released by then, so the next job is not dropped as a duplicate."""
    real = sync.fetch_record

    def fetch_and_change(leave, external_id):
        found = real(leave, external_id)
        if six.records["a"]["version"] == 1:
            six.put("a", 2)
            sync_record.send("crm", "a")
        return found

    monkeypatch.setattr(sync, "fetch_record", fetch_and_change)
    sync_record.send("crm", "a")
    jobs.drain()

    assert kept() == {"a": 2}


def test_records_that_come_while_it_is_read_do_not_make_a_listing_fail(
    jobs, six, kept, monkeypatch
):
    """New records come first, so the last page's total includes records that no page has listed."""
    real = actors.sync.sync.fetch_page

    def read(turn):
        page = real(turn)
        if page.next is not None:
            six.put("0new")
        return page

    monkeypatch.setattr(actors.sync.sync, "fetch_page", read)
    sync_critical_data.send("crm")
    jobs.drain()

    assert sorted(kept()) == list(SIX)


def test_a_last_page_that_is_not_whole_has_its_records_all_the_same(jobs, six, kept):
    six.page_size = 10
    six.queue_faults("short", at="/records")
    sync_critical_data.send("crm")
    drain(jobs)

    assert sorted(kept()) == list("bcdef")


def test_a_record_found_again_is_not_deleted_by_a_later_answer(jobs, six, kept):
    """An earlier listing lacked it."""
    sync_critical_data.send("crm")
    jobs.drain()
    six.page_size = 10
    six.queue_faults("fewer", at="/records")
    sync_critical_data.send("crm")
    jobs.drain()

    six.queue_faults("404", at="/records/a")
    with jobs.expect_discard():
        jobs.perform(sync_record, "crm", "a")
    assert "a" in kept()


def test_a_revoked_token_alerts_once_and_is_not_retried(jobs, six, state):
    six.queue_faults(*["401"] * 20)
    for name in SIX:
        sync_record.send("crm", name)
    drain(jobs)

    assert len(six.requests) == sources.FAILURE_THRESHOLD
    assert state().circuit_open_until is not None
    assert len(jobs.mailbox) == 2
    assert sum(run.message.actor_name == "deliver_email" for run in jobs.runs) == 2


def test_a_part_of_a_listing_says_nothing_of_the_whole(jobs, six, state):
    six.queue_faults(*["500"] * 4)
    sync_critical_data.send("crm")
    for _ in range(4):
        drain(jobs)
        jobs.advance(hours=1)
    assert state().failed_runs == 4
    jobs.drain()
    before = len(jobs.mailbox)
    assert state().failed_runs == 0

    six.queue_faults("500")
    with pytest.raises(SourceFailedError):
        jobs.perform(sync_critical_data, "crm", cursor="c")
    assert state().failed_runs == 1
    jobs.advance(minutes=1)
    jobs.drain()
    assert state().failed_runs == 1
    assert len(jobs.mailbox) == before


def test_a_record_of_the_wrong_form_keeps_no_other_from_coming(jobs, six, kept):
    six.queue_faults("nul", at="/records/c")
    sync_critical_data.send("crm")
    drain(jobs)

    assert sorted(kept()) == list("abdef")
    run_all(jobs)
    assert sorted(kept()) == list(SIX)
