"""Listings of ordinary APIs: one bad record, integer ids, no total, no end."""

import pytest

from actors import sync_critical_data
from shop import sync
from shop.sync import skipped_items
from shop.sync.errors import OverlongListingError, WrongAnswerError
from tests.service.integration.sync.conftest import SIX, drain
from workshed import db


@pytest.fixture
def skipped(database):
    """`skipped()`: (item, reason) of each item listed as skipped."""

    def read():
        with db.transaction() as conn:
            return [(one.item, one.reason) for one in sync.list_skipped(conn, "crm")]

    return read


def run_all(jobs):
    sync_critical_data.send("crm")
    jobs.drain()


def test_a_bad_item_is_skipped_and_listed_and_the_rest_goes_on(
    jobs, six, kept, skipped, state, caplog
):
    six.queue_faults("bad-id", at="/records")

    run_all(jobs)

    assert sorted(kept()) == list("bcdef")
    [(item, reason)] = skipped()
    assert item == '{"id": "bad/id", "version": 1}'
    assert reason.startswith("not as agreed: id: String should match")
    assert (state().skipped, state().failed_runs, state().last_error) == (1, 0, None)
    assert "crm: skipped 1 items of its listing" in caplog.text


def test_a_corrected_item_is_no_longer_listed(jobs, six, kept, skipped):
    six.queue_faults("bad-id", at="/records")
    run_all(jobs)

    run_all(jobs)

    assert sorted(kept()) == list(SIX)
    assert skipped() == []


@pytest.mark.parametrize("fault", ["nan", "wrong-type"])
def test_a_record_that_we_have_is_not_deleted_because_its_item_is_bad(jobs, six, kept, fault):
    run_all(jobs)
    six.queue_faults(fault, at="/records")

    run_all(jobs)

    assert sorted(kept()) == list(SIX)


def test_a_listing_of_which_nothing_can_be_read_is_another_api(jobs, six, kept, state):
    """It must not count records as deleted."""
    run_all(jobs)
    six.queue_faults("all-bad", "all-bad", at="/records")

    with pytest.raises(WrongAnswerError, match=r"none of its 6 items can be read: .*Input should"):
        jobs.perform(sync_critical_data, "crm")

    assert sorted(kept()) == list(SIX)
    assert state().failed_runs == 1


def test_many_bad_items_fill_no_table(jobs, six, skipped, monkeypatch):
    monkeypatch.setattr(skipped_items, "MAX_STORED", 2)
    six.queue_faults("all-bad", at="/records")

    run_all(jobs)

    assert len(skipped()) == 2


def test_records_may_be_counted_by_integers(jobs, crm, kept, rows, monkeypatch):
    right = crm.answer

    def answer(path, cursor):
        found = right(path, cursor)
        if found is None:
            return None
        if "items" in found:
            return {**found, "items": [{**one, "id": int(one["id"])} for one in found["items"]]}
        others = [{**one, "id": int(one["id"])} for one in found["associations"]]
        return {**found, "id": int(found["id"]), "associations": others}

    monkeypatch.setattr(crm, "answer", answer)
    for number in range(5):
        crm.put(str(number), associations=[("owner", "0")])

    run_all(jobs)

    assert kept() == {str(number): 1 for number in range(5)}
    assert rows("SELECT DISTINCT other_id FROM shop.sync_associations") == [("0",)]


def test_a_listing_need_not_say_how_many_there_are(jobs, six, kept, state):
    six.queue_faults("no-total", "no-total", at="/records")

    run_all(jobs)

    assert sorted(kept()) == list(SIX)
    assert state().last_success_at is not None


def test_a_listing_stops_above_its_total(jobs, six, kept, state):
    """Otherwise an endless listing would be read for hours, repeatedly."""
    six.queue_faults("overlong", "overlong", at="/records")

    with pytest.raises(OverlongListingError, match="3 records so far, and says there are 2"):
        jobs.perform(sync_critical_data, "crm")

    assert len(six.requests) == 1
    assert state().listing_since is None


def test_a_listing_that_names_records_twice_is_not_above_its_total(jobs, six, kept):
    six.queue_faults("twice", "twice", at="/records")

    run_all(jobs)

    assert sorted(kept()) == list(SIX)


def test_a_source_that_is_removed_goes_with_its_records(jobs, six, rows):
    sync_critical_data.send("crm")
    six.queue_faults("bad-id", at="/records")
    drain(jobs)
    sync_critical_data.send("crm")

    with db.transaction() as conn:
        assert sync.remove(conn, "crm")
        assert not sync.remove(conn, "crm")
    jobs.drain()
    jobs.advance(minutes=2)
    with jobs.expect_discard("source crm does not exist"):
        jobs.drain()

    for table in ("sync_sources", "sync_records", "sync_associations", "sync_skipped"):
        assert rows(f"SELECT count(*) FROM shop.{table}") == [(0,)]  # noqa: S608 -- ours
