"""The actors that sync, with all that is around a job, against a source that misbehaves."""

import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import actors
from actors import start_syncs, sync_critical_data, sync_record
from console.demo.api import FAULTS
from workshed import db, sync
from workshed.sync import sources
from workshed.sync.errors import (
    CertificateError,
    ForbiddenAddressError,
    IncompleteListingError,
    RepeatedCursorError,
    SourceBusyError,
    SourceError,
    SourceFailedError,
    TruncatedAnswerError,
    WrongAnswerError,
)

SIX = "abcdef"


@pytest.fixture
def six(crm):
    """The source with six records on two pages; `b` belongs to `a`."""
    for name in SIX:
        crm.put(name, data={"letter": name}, associations=[("owner", "a")] if name == "b" else ())
    return crm


def sent(jobs, actor):
    return [job for job in jobs.enqueued if job.actor == actor.actor_name]


def subjects(jobs):
    return sorted((str(mail["To"]), str(mail["Subject"])) for mail in jobs.mailbox)


def drain(jobs):
    """Run all that is due, whatever becomes of it."""
    with contextlib.suppress(SourceError):
        jobs.drain()


def fetch(name):
    """Ask for a record, as its job does."""
    with db.transaction() as conn:
        leave = sync.admit(conn, "crm")
    return sync.fetch(leave, name)


def run_all(jobs):
    """Run all that waits, each wait at once, until nothing is left but the calendar."""
    for _ in range(60):
        drain(jobs)
        if not jobs.enqueued:
            return
        jobs.advance(hours=2)
    pytest.fail(f"still {jobs.enqueued}")


# What is done


def test_all_that_a_source_has_is_kept(jobs, six, kept, log, rows, state):
    sync_critical_data.send("crm")
    jobs.drain()

    assert kept() == dict.fromkeys(SIX, 1)
    assert sorted(log()) == [(name, "created", 1) for name in SIX]
    assert rows("SELECT external_id, kind, other_id FROM product.sync_associations") == [
        ("b", "owner", "a")
    ]
    [(data,)] = rows("SELECT data FROM product.sync_records WHERE external_id = 'c'")
    assert data == {"letter": "c"}
    assert state().last_success_at is not None
    assert six.requests.count("GET /records") == 2


def test_only_what_is_newer_is_fetched(jobs, six, kept, log):
    sync_critical_data.send("crm")
    jobs.drain()
    six.requests.clear()
    six.put("b", 2, associations=[("owner", "c"), ("owner", "c"), ("editor", "a")])

    sync_critical_data.send("crm")
    jobs.drain()

    assert sorted(six.requests) == ["GET /records", "GET /records", "GET /records/b"]
    assert kept()["b"] == 2
    assert log()[-1] == ("b", "updated", 2)


def test_associations_are_those_of_the_newest_version(jobs, six, rows):
    sync_record.send("crm", "b")
    jobs.drain()
    six.put("b", 2, associations=[("owner", "c"), ("owner", "c"), ("editor", "a")])

    sync_record.send("crm", "b")
    jobs.drain()

    query = "SELECT kind, other_id FROM product.sync_associations ORDER BY kind"
    assert rows(query) == [("editor", "a"), ("owner", "c")]


def test_an_older_answer_changes_nothing(jobs, six, kept, log):
    six.put("a", 5)
    jobs.perform(sync_record, "crm", "a")
    six.put("a", 4, name="Older")

    jobs.perform(sync_record, "crm", "a")

    assert kept() == {"a": 5}
    assert log() == [("a", "created", 5)]


def test_what_a_whole_listing_lacks_is_gone(jobs, six, kept, log, rows):
    sync_critical_data.send("crm")
    jobs.drain()
    del six.records["b"], six.records["e"]

    sync_critical_data.send("crm")
    jobs.drain()

    assert sorted(kept()) == list("acdf")
    assert sorted(log()[-2:]) == [("b", "deleted", 1), ("e", "deleted", 1)]
    assert rows("SELECT count(*) FROM product.sync_associations") == [(0,)]


def test_what_comes_again_is_there_again(jobs, six, kept, log):
    for there in (True, False, True):
        if there:
            six.put("b")
        else:
            del six.records["b"]
        sync_critical_data.send("crm")
        jobs.drain()

    assert kept()["b"] == 1
    assert [change for name, change, _ in log() if name == "b"] == [
        "created",
        "deleted",
        "restored",
    ]


def test_an_answer_from_before_the_deletion_brings_nothing_back(jobs, six, kept):
    sync_critical_data.send("crm")
    jobs.drain()
    with db.transaction() as conn:
        leave = sync.admit(conn, "crm")
    six.put("b", 9)
    late = sync.fetch(leave, "b")
    del six.records["b"]
    sync_critical_data.send("crm")
    jobs.drain()

    with db.transaction() as conn:
        assert sync.write(conn, leave, "b", late) is None
    assert "b" not in kept()


def test_what_was_fetched_since_the_listing_began_stays(jobs, six, kept, monkeypatch):
    """It came after the page on which it would have been."""
    sync_critical_data.send("crm")
    jobs.drain()
    real = actors.sync.sync.read

    def read(turn):
        page = real(turn)
        if page.next is None:
            six.put("aa")
            sync_record.fn("crm", "aa")
        return page

    monkeypatch.setattr(actors.sync.sync, "read", read)
    sync_critical_data.send("crm")
    jobs.drain()

    assert "aa" in kept()


@pytest.mark.parametrize("fault", ["short", "nothing"])
def test_nothing_is_deleted_by_a_listing_that_is_not_whole(jobs, six, kept, state, fault):
    sync_critical_data.send("crm")
    jobs.drain()
    six.misbehave(fault, at="/records")

    with pytest.raises(IncompleteListingError, match="of the 6 records"):
        jobs.perform(sync_critical_data, "crm")

    assert sorted(kept()) == list(SIX)
    jobs.advance(minutes=1)
    jobs.drain()  # from the first page on: what was read of it leads nowhere
    assert state().failed_runs == 0


def test_what_a_listing_lacks_and_the_source_has_stays(jobs, six, kept, log):
    """It says that there are as many as it names; what comes and goes meanwhile looks like that."""
    sync_critical_data.send("crm")
    jobs.drain()
    six.misbehave("fewer", at="/records")
    six.page = 10
    six.requests.clear()

    sync_critical_data.send("crm")
    jobs.drain()

    assert six.requests == ["GET /records", "GET /records/a"]
    assert sorted(kept()) == list(SIX)
    assert len(log()) == 6


def test_nothing_is_deleted_by_a_listing_from_the_middle(jobs, six, kept, state):
    sync_critical_data.send("crm")
    jobs.drain()
    seen = state().last_success_at
    del six.records["a"], six.records["f"]

    jobs.perform(sync_critical_data, "crm", cursor="c")

    assert sorted(kept()) == list(SIX)
    assert state().last_success_at == seen


def test_a_page_that_names_a_record_twice_names_one(jobs, six, kept):
    six.misbehave("twice")

    sync_critical_data.send("crm")
    jobs.drain()

    assert kept() == dict.fromkeys(SIX, 1)


def test_a_record_that_is_gone_is_left_to_the_next_listing(jobs, six, kept):
    jobs.perform(sync_record, "crm", "b")
    del six.records["b"]

    with jobs.expect_discard("record of crm b does not exist"):
        jobs.perform(sync_record, "crm", "b")

    assert kept() == {"b": 1}


def test_a_record_that_never_was_is_no_failure(jobs, six, kept):
    with jobs.expect_discard("record of crm nobody does not exist"):
        jobs.perform(sync_record, "crm", "nobody")

    assert kept() == {}


def test_an_id_that_would_be_another_path_is_no_record(jobs, six):
    with jobs.expect_discard("record of crm ../misbehave does not exist"):
        jobs.perform(sync_record, "crm", "../misbehave")

    assert six.requests == []


def test_a_source_nobody_added_is_no_failure(jobs, crm):
    with jobs.expect_discard("source shop does not exist"):
        jobs.perform(sync_critical_data, "shop")


def test_each_source_is_begun_by_the_calendar(jobs, crm):
    with db.transaction() as conn:
        sync.add(conn, "shop", crm.origin)

    jobs.perform(start_syncs)
    jobs.perform(start_syncs)

    assert [job.message.args for job in sent(jobs, sync_critical_data)] == [("crm",), ("shop",)]
    assert str(start_syncs.options["periodic"].spec.words) == "every 15 minutes"


# What goes wrong


def test_a_run_goes_on_where_the_last_one_stopped(jobs, six, kept, monkeypatch):
    calls = []
    real = actors.sync.sync.read

    def read(turn):
        calls.append(turn.cursor)
        if len(calls) == 2:
            six.misbehave("502")
        return real(turn)

    monkeypatch.setattr(actors.sync.sync, "read", read)
    with pytest.raises(SourceFailedError):
        jobs.perform(sync_critical_data, "crm")
    jobs.advance(minutes=1)
    jobs.drain()

    assert calls == [None, "c", "c"]
    assert kept() == dict.fromkeys(SIX, 1)


def test_the_waits_are_those_that_were_asked_for(jobs, six):
    """attempt⁴ and up to 30 s, but what the source says comes first."""
    jobs.freeze()
    sync_critical_data.send("crm")
    seconds = []
    for fault in ("500", "429:100", "cut-json", "429"):
        six.misbehave(fault)
        drain(jobs)
        [job] = jobs.scheduled
        seconds.append(job.delay.total_seconds())
        jobs.advance(seconds=seconds[-1] + 1)

    assert 1 <= seconds[0] <= 31
    assert seconds[1] == 100
    assert 3**4 <= seconds[2] <= 3**4 + 30
    assert 4**4 <= seconds[3] <= 4**4 + 30


def test_after_ten_attempts_it_is_dead(jobs, six, rows):
    six.misbehave(*["500"] * 10)
    sync_critical_data.send("crm")

    run_all(jobs)

    [dead] = jobs.dead
    assert (dead.actor, dead.attempt) == ("sync_critical_data", 10)
    classes = rows("SELECT error_class, traceback FROM jobs.attempts ORDER BY attempt")
    assert len(classes) == 10
    assert all(name.endswith("SourceFailedError") for name, _ in classes)
    assert all("in _read" in trace for _, trace in classes)


def test_the_error_and_where_it_happened_are_logged(jobs, six, caplog):
    six.misbehave("html")

    with caplog.at_level(logging.INFO), pytest.raises(WrongAnswerError):
        jobs.perform(sync_critical_data, "crm")

    assert "Down for maintenance" in caplog.text
    assert "WrongAnswerError" in caplog.text


@pytest.mark.parametrize(
    ("fault", "error"),
    [("401", "RefusedRequestError"), ("bomb", "OversizedAnswerError"),
     ("redirect:http://169.254.169.254/", "ForeignRedirectError")],
)  # fmt: skip
def test_what_trying_again_cannot_help_is_dead_at_once(jobs, six, fault, error):
    six.misbehave(fault)
    sync_critical_data.send("crm")
    drain(jobs)

    assert [dead.error_class.rpartition(".")[2] for dead in jobs.dead] == [error]
    assert len(subjects(jobs)) == 2


@pytest.mark.parametrize("fault", ["same-cursor", "first-again"])
def test_a_listing_that_goes_round_ends(jobs, six, kept, fault):
    jobs.perform(sync_critical_data, "crm")
    jobs.drain()
    six.misbehave(fault, fault, fault, fault, at="/records")

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
    """Its job tries again by itself; each listing would else send another."""
    six.misbehave("nul", at="/records/c")
    for _ in range(3):
        sync_critical_data.send("crm")
        drain(jobs)
    assert len(sent(jobs, sync_record)) == 1

    jobs.advance(minutes=61)
    six.misbehave(*["nul"] * 2, at="/records/c")
    sync_critical_data.send("crm")
    drain(jobs)
    assert len(sent(jobs, sync_record)) == 2


def test_what_changes_while_a_record_is_fetched_is_fetched_again(jobs, six, kept, monkeypatch):
    """The key of its job is free by then, so the next is no copy of it."""
    real = sync.fetch

    def fetch_and_change(leave, external_id):
        found = real(leave, external_id)
        if six.records["a"]["version"] == 1:
            six.put("a", 2)
            sync_record.send("crm", "a")
        return found

    monkeypatch.setattr(sync, "fetch", fetch_and_change)
    sync_record.send("crm", "a")
    jobs.drain()

    assert kept() == {"a": 2}


def test_records_that_come_while_it_is_read_do_not_make_a_listing_fail(
    jobs, six, kept, monkeypatch
):
    """The newest come first here: the last page counts what no page has named."""
    real = actors.sync.sync.read

    def read(turn):
        page = real(turn)
        if page.next is not None:
            six.put("0new")
        return page

    monkeypatch.setattr(actors.sync.sync, "read", read)
    sync_critical_data.send("crm")
    jobs.drain()

    assert sorted(kept()) == list(SIX)


def test_a_last_page_that_is_not_whole_has_its_records_all_the_same(jobs, six, kept):
    six.page = 10
    six.misbehave("short", at="/records")
    sync_critical_data.send("crm")
    drain(jobs)

    assert sorted(kept()) == list("bcdef")


def test_what_was_found_again_is_not_deleted_by_a_later_answer(jobs, six, kept):
    """One listing lacked it, weeks ago."""
    sync_critical_data.send("crm")
    jobs.drain()
    six.page = 10
    six.misbehave("fewer", at="/records")
    sync_critical_data.send("crm")
    jobs.drain()

    six.misbehave("404", at="/records/a")
    with jobs.expect_discard():
        jobs.perform(sync_record, "crm", "a")
    assert "a" in kept()


def test_a_token_that_is_revoked_is_told_once_and_asked_no_more(jobs, six, state):
    six.misbehave(*["401"] * 20)
    for name in SIX:
        sync_record.send("crm", name)
    drain(jobs)

    assert len(six.requests) == sources.TRIPS_AT
    assert state().held_until is not None
    assert len(jobs.mailbox) == 2
    assert sum(run.message.actor_name == "deliver_email" for run in jobs.runs) == 2


def test_a_part_of_a_listing_says_nothing_of_the_whole(jobs, six, state):
    six.misbehave(*["500"] * 4)
    sync_critical_data.send("crm")
    for _ in range(4):
        drain(jobs)
        jobs.advance(hours=1)
    assert state().failed_runs == 4
    jobs.drain()
    before = len(jobs.mailbox)
    assert state().failed_runs == 0

    six.misbehave("500")
    with pytest.raises(SourceFailedError):
        jobs.perform(sync_critical_data, "crm", cursor="c")
    assert state().failed_runs == 1
    jobs.advance(minutes=1)
    jobs.drain()
    assert state().failed_runs == 1
    assert len(jobs.mailbox) == before


def test_a_record_of_the_wrong_form_keeps_no_other_from_coming(jobs, six, kept):
    six.misbehave("nul", at="/records/c")
    sync_critical_data.send("crm")
    drain(jobs)

    assert sorted(kept()) == list("abdef")
    run_all(jobs)
    assert sorted(kept()) == list(SIX)


# The circuit


def test_a_source_that_fails_is_left_alone_for_a_while(jobs, six, state):
    six.misbehave(*["500"] * sources.TRIPS_AT)
    for name in SIX:
        sync_record.send("crm", name)
    drain(jobs)

    assert len(six.requests) == sources.TRIPS_AT
    assert jobs.runs[-1].outcome.kind == "snooze"
    assert state().held_until is not None


def test_then_one_asks_and_the_others_wait_for_what_comes_of_it(jobs, six, state):
    six.misbehave(*["500"] * sources.TRIPS_AT)
    for _ in range(sources.TRIPS_AT):
        with pytest.raises(SourceFailedError):
            fetch("a")
    jobs.advance(seconds=31)

    with db.transaction() as conn:
        leave = sync.admit(conn, "crm")
    with pytest.raises(sources.Snooze), db.transaction() as conn:
        sync.admit(conn, "crm")
    sync.fetch(leave, "a")

    assert state().held_until is None
    with db.transaction() as conn:
        assert sync.admit(conn, "crm").failures == 0


def test_of_two_that_look_at_once_one_asks(jobs, six, eventually, rows):
    six.misbehave("429:40")
    with pytest.raises(SourceBusyError):
        fetch("a")
    jobs.advance(seconds=41)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"

    with ThreadPoolExecutor(1) as threads:
        with db.transaction() as conn:
            sync.admit(conn, "crm")
            other = threads.submit(fetch, "a")
            eventually(lambda: rows(waiting) == [(1,)])  # for what this one has claimed
        with pytest.raises(sources.Snooze):
            other.result()
    assert six.requests == ["GET /records/a"]


def test_it_rests_for_longer_each_time(jobs, six, state):
    jobs.freeze()
    six.misbehave(*["500"] * 30)
    rests = []
    for _ in range(sources.TRIPS_AT + 8):
        with pytest.raises(SourceFailedError):
            fetch("a")
        if found := state().held_until:
            rests.append((found - state().now).total_seconds())
            jobs.advance(seconds=rests[-1] + 1)

    assert rests == [30, 60, 120, 240, 480, 900, 900, 900, 900]


def test_a_source_that_says_when_is_asked_by_nobody_before(jobs, six, state):
    jobs.freeze()
    six.misbehave("429:40")
    for name in "abc":
        sync_record.send("crm", name)
    drain(jobs)

    assert len(six.requests) == 1
    assert (state().held_until - state().now).total_seconds() == 40


def test_an_answer_from_before_frees_nobody(jobs, six, state):
    jobs.freeze()
    with db.transaction() as conn:
        early, late = sync.admit(conn, "crm"), sync.admit(conn, "crm")
    jobs.advance(seconds=1)
    six.misbehave("429:40")
    with pytest.raises(SourceBusyError):
        sync.fetch(late, "a")

    with sources.asking(replace(early, failures=1)):
        pass  # its answer is as good as what it found when it began

    assert state().held_until is not None


def test_what_says_nothing_of_the_source_holds_nobody(jobs, six, state):
    six.misbehave(*["wrong-type"] * 9)
    for _ in range(9):
        with pytest.raises(WrongAnswerError):
            fetch("a")

    assert state().held_until is None


# Who is told


def test_the_fourth_failed_run_is_told_once_per_window(jobs, six, state):
    jobs.freeze()
    told, windows = [], set()
    six.misbehave(*["500"] * 7)
    sync_critical_data.send("crm")
    for number in range(7):
        drain(jobs)
        if number >= 3:
            windows.add(state().now.replace(minute=0, second=0))
        told.append((len(jobs.mailbox), 2 * len(windows)))
        jobs.advance(minutes=30)

    assert told[:3] == [(0, 0)] * 3
    assert all(mails == wanted for mails, wanted in told)
    assert 1 < len(windows) < 4
    assert {to.partition("@")[0].rpartition("<")[2] for to, _ in subjects(jobs)} == {"ada", "bob"}
    assert {subject for _, subject in subjects(jobs)} == {"crm: the sync fails"}
    assert state().failed_runs == 7


def test_in_one_window_there_is_one(jobs, six, use):
    use(SYNC_ALERT_WINDOW="86400000")
    six.misbehave(*["500"] * 10)
    sync_critical_data.send("crm")
    run_all(jobs)

    failing = [mail for mail in subjects(jobs) if mail[1] == "crm: the sync fails"]
    assert len(failing) == 2


def test_it_is_told_when_it_is_over(jobs, six, state, use):
    use(SYNC_ALERT_WINDOW="86400000")
    six.misbehave(*["500"] * 5)
    sync_critical_data.send("crm")
    run_all(jobs)

    recovered = [mail for mail in subjects(jobs) if mail[1] == "crm: the sync works again"]
    assert len(recovered) == 2
    assert (state().failed_runs, state().failing_since, state().last_error) == (0, None, None)
    text = jobs.mailbox[0].get_body(("plain",)).get_content()
    assert "4 runs in a row failed, since" in text
    assert "SourceFailedError: 500" in text

    jobs.perform(sync_critical_data, "crm")
    jobs.drain()
    assert len([one for one in subjects(jobs) if "again" in one[1]]) == 2


def test_an_outage_that_ends_before_the_fourth_run_is_told_to_nobody(jobs, six):
    six.misbehave("500", "cut", "429:1")
    sync_critical_data.send("crm")
    run_all(jobs)

    assert jobs.mailbox == []


@pytest.mark.parametrize("faults", [["html"], ["wrong-type"], ["same-cursor", "same-cursor"]])
def test_what_somebody_should_look_at_is_told_at_once_and_tried_again(jobs, six, kept, faults):
    six.misbehave(*faults, at="/records")
    sync_critical_data.send("crm")
    drain(jobs)
    assert len(jobs.mailbox) == 2
    assert jobs.dead == []

    run_all(jobs)

    assert sorted(kept()) == list(SIX)


def test_a_record_whose_job_is_dead_is_told(jobs, six):
    six.misbehave("401", "401")
    for name in "ab":
        sync_record.send("crm", name)
    drain(jobs)

    assert subjects(jobs) == [
        ("Ada <ada@example.org>", "crm: the sync fails"),
        ("Bob <bob@example.org>", "crm: the sync fails"),
    ]
    assert "RefusedRequestError" in jobs.mailbox[0].get_body(("plain",)).get_content()


def test_alerts_overtake_other_mails(jobs, six):
    six.misbehave("html")
    with pytest.raises(WrongAnswerError):
        jobs.perform(sync_critical_data, "crm")

    assert [job.priority for job in sent(jobs, actors.deliver_email)] == [4, 4]


def test_a_reason_from_outside_is_text(jobs, six, monkeypatch):
    six.records.clear()
    six.put("a")
    monkeypatch.setitem(
        FAULTS,
        "html",
        lambda handler, _: handler.reply(200, b"<script>alert(1)</script>\r\nBcc: x@example.org"),
    )
    six.misbehave("html")
    sync_critical_data.send("crm")
    drain(jobs)

    html = jobs.mailbox[0].get_body(("html",)).get_content()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert jobs.mailbox[0]["Bcc"] is None


# Old things


def test_old_changes_are_forgotten_by_night(jobs, six, rows, log):
    sync_critical_data.send("crm")
    jobs.drain()
    del six.records["b"]
    sync_critical_data.send("crm")
    jobs.drain()
    assert len(log()) == 7

    jobs.advance(days=91)
    jobs.perform(actors.maintain)

    assert log() == []
    assert len(rows("SELECT * FROM product.sync_records")) == 5


def test_a_listing_that_was_begun_long_ago_begins_anew(jobs, six, kept):
    with db.transaction() as conn:
        first = sync.turn(conn, "crm", None)
        sync.land(conn, first, sync.read(first))
        assert sync.turn(conn, "crm", None).cursor == "c"
    jobs.advance(hours=7)

    with db.transaction() as conn:
        assert sync.turn(conn, "crm", None).cursor is None


def test_a_copy_of_the_job_leaves_the_rest_to_the_other(jobs, six):
    with db.transaction() as conn:
        mine, other = sync.turn(conn, "crm", None), sync.turn(conn, "crm", None)
    page = sync.read(mine)

    with db.transaction() as conn:
        assert sync.land(conn, mine, page).wanted == list("abc")
    reads = pytest.raises(sources.Snooze, match="a copy of this job reads crm")
    with reads, db.transaction() as conn:  # it may yet die
        sync.land(conn, other, page)
    while not actors.sync.read_page("crm", None):
        pass
    with db.transaction() as conn:
        again = sync.land(conn, other, page)
    assert (again.wanted, again.ended) == ([], True)


def test_expired_certificates_are_of_those_told_at_once():
    assert CertificateError.verdict == "alert"
    assert TruncatedAnswerError.verdict == "retry"
