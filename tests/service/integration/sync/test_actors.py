"""The result of a sync: what is kept, fetched and deleted."""

import pytest

import actors
from actors import start_syncs, sync_critical_data, sync_record
from shop import sync
from shop.sync import sources
from shop.sync.errors import (
    CertificateError,
    IncompleteListingError,
    TruncatedAnswerError,
)
from tests.service.integration.sync.conftest import SIX, sent
from workshed import db


def test_all_that_a_source_has_is_kept(jobs, six, kept, log, rows, state):
    sync_critical_data.send("crm")
    jobs.drain()

    assert kept() == dict.fromkeys(SIX, 1)
    assert sorted(log()) == [(name, "created", 1) for name in SIX]
    assert rows("SELECT external_id, kind, other_id FROM shop.sync_associations") == [
        ("b", "owner", "a")
    ]
    [(data,)] = rows("SELECT data FROM shop.sync_records WHERE external_id = 'c'")
    assert data == {"letter": "c"}
    assert state().last_success_at is not None
    assert six.requests.count("GET /records") == 2


def test_only_newer_records_are_fetched(jobs, six, kept, log):
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

    query = "SELECT kind, other_id FROM shop.sync_associations ORDER BY kind"
    assert rows(query) == [("editor", "a"), ("owner", "c")]


def test_an_older_answer_changes_nothing(jobs, six, kept, log):
    six.put("a", 5)
    jobs.perform(sync_record, "crm", "a")
    six.put("a", 4, name="Older")

    jobs.perform(sync_record, "crm", "a")

    assert kept() == {"a": 5}
    assert log() == [("a", "created", 5)]


def test_records_missing_in_a_whole_listing_are_deleted(jobs, six, kept, log, rows):
    sync_critical_data.send("crm")
    jobs.drain()
    del six.records["b"], six.records["e"]

    sync_critical_data.send("crm")
    jobs.drain()

    assert sorted(kept()) == list("acdf")
    assert sorted(log()[-2:]) == [("b", "deleted", 1), ("e", "deleted", 1)]
    assert rows("SELECT count(*) FROM shop.sync_associations") == [(0,)]


def test_a_record_that_returns_is_stored_again(jobs, six, kept, log):
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
        leave = sync.acquire_permit(conn, "crm")
    six.put("b", 9)
    late = sync.fetch_record(leave, "b")
    del six.records["b"]
    sync_critical_data.send("crm")
    jobs.drain()

    with db.transaction() as conn:
        assert sync.store_record(conn, leave, "b", late) is None
    assert "b" not in kept()


def test_records_fetched_since_the_listing_began_stay(jobs, six, kept, monkeypatch):
    """It appeared after the page that would have listed it."""
    sync_critical_data.send("crm")
    jobs.drain()
    real = actors.sync.sync.fetch_page

    def read(turn):
        page = real(turn)
        if page.next is None:
            six.put("aa")
            sync_record.fn("crm", "aa")
        return page

    monkeypatch.setattr(actors.sync.sync, "fetch_page", read)
    sync_critical_data.send("crm")
    jobs.drain()

    assert "aa" in kept()


@pytest.mark.parametrize("fault", ["short", "nothing"])
def test_nothing_is_deleted_by_a_listing_that_is_not_whole(jobs, six, kept, state, fault):
    sync_critical_data.send("crm")
    jobs.drain()
    six.queue_faults(fault, at="/records")

    with pytest.raises(IncompleteListingError, match="of the 6 records"):
        jobs.perform(sync_critical_data, "crm")

    assert sorted(kept()) == list(SIX)
    jobs.advance(minutes=1)
    jobs.drain()  # from the first page on, because the partial listing is discarded
    assert state().failed_runs == 0


def test_a_record_missing_in_a_listing_stays_if_the_source_has_it(jobs, six, kept, log):
    """Its total matches its items, as when records come and go during the listing."""
    sync_critical_data.send("crm")
    jobs.drain()
    six.queue_faults("fewer", at="/records")
    six.page_size = 10
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
    six.queue_faults("twice")

    sync_critical_data.send("crm")
    jobs.drain()

    assert kept() == dict.fromkeys(SIX, 1)


def test_a_deleted_record_is_left_to_the_next_listing(jobs, six, kept):
    jobs.perform(sync_record, "crm", "b")
    del six.records["b"]

    with jobs.expect_discard("record of crm b does not exist"):
        jobs.perform(sync_record, "crm", "b")

    assert kept() == {"b": 1}


def test_a_record_that_never_was_is_no_failure(jobs, six, kept):
    with jobs.expect_discard("record of crm stranger does not exist"):
        jobs.perform(sync_record, "crm", "stranger")

    assert kept() == {}


def test_an_id_that_would_be_another_path_is_no_record(jobs, six):
    with jobs.expect_discard("record of crm ../misbehave does not exist"):
        jobs.perform(sync_record, "crm", "../misbehave")

    assert six.requests == []


def test_an_unknown_source_is_no_failure(jobs, crm):
    with jobs.expect_discard("source shop does not exist"):
        jobs.perform(sync_critical_data, "shop")


def test_each_source_is_begun_by_the_calendar(jobs, crm):
    with db.transaction() as conn:
        sync.add(conn, "shop", crm.origin)

    jobs.perform(start_syncs)
    jobs.perform(start_syncs)

    assert [job.message.args for job in sent(jobs, sync_critical_data)] == [("crm",), ("shop",)]
    assert str(start_syncs.options["periodic"].spec.description) == "every 15 minutes"


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
    assert len(rows("SELECT * FROM shop.sync_records")) == 5


def test_a_listing_that_was_begun_long_ago_is_restarted(jobs, six, kept):
    with db.transaction() as conn:
        first = sync.next_page(conn, "crm", None)
        sync.store_page(conn, first, sync.fetch_page(first))
        assert sync.next_page(conn, "crm", None).cursor == "c"
    jobs.advance(hours=7)

    with db.transaction() as conn:
        assert sync.next_page(conn, "crm", None).cursor is None


def test_a_copy_of_the_job_leaves_the_rest_to_the_other(jobs, six):
    with db.transaction() as conn:
        mine, other = sync.next_page(conn, "crm", None), sync.next_page(conn, "crm", None)
    page = sync.fetch_page(mine)

    with db.transaction() as conn:
        assert sync.store_page(conn, mine, page).ids_to_fetch == list("abc")
    reads = pytest.raises(sources.Snooze, match="a copy of this job reads crm")
    with reads, db.transaction() as conn:  # the reading copy may still die
        sync.store_page(conn, other, page)
    while not actors.sync.read_page("crm", None):
        pass
    with db.transaction() as conn:
        again = sync.store_page(conn, other, page)
    assert (again.ids_to_fetch, again.is_last) == ([], True)


def test_expired_certificates_are_reported_immediately():
    assert CertificateError.verdict == "alert"
    assert TruncatedAnswerError.verdict == "retry"
