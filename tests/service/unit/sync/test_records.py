"""The newer version wins, in any order of arrival."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from shop.sync.errors import WrongAnswerError
from shop.sync.records import StoredRecord, decide_change
from shop.sync.schemas import ListedItem, ListingPage, parse_page, parse_record

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
EARLIER, LATER = NOON - timedelta(seconds=1), NOON + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("stored", "version", "since", "change"),
    [
        (StoredRecord(None, None, None), 0, NOON, "created"),
        (StoredRecord(1, None, None), 2, NOON, "updated"),
        (StoredRecord(1, NOON, None), 2, LATER, "updated"),
        (StoredRecord(2, None, None), 2, NOON, None),
        (StoredRecord(3, None, None), 2, NOON, None),
        (StoredRecord(5, EARLIER, NOON), 9, EARLIER, None),
        (StoredRecord(5, EARLIER, NOON), 1, LATER, "restored"),
        (StoredRecord(5, None, None), None, NOON, None),
        (StoredRecord(5, NOON, None), None, EARLIER, None),
        (StoredRecord(5, NOON, None), None, LATER, "deleted"),
        (StoredRecord(5, EARLIER, NOON), None, LATER, None),
        (StoredRecord(None, None, None), None, LATER, None),
    ],
)
def test_what_follows_from_two_versions(stored, version, since, change):
    assert decide_change(stored, version, since) == change


@pytest.mark.parametrize("order", list(permutations([1, 2, 3, 4])))
def test_in_any_order_the_newest_stays(order):
    stored = StoredRecord(None, None, None)
    for version in order:
        if decide_change(stored, version, NOON):
            stored = StoredRecord(version, None, None)

    assert stored.version == 4


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([], "answer: "),
        ({"items": [], "total": 0}, "next: Field required"),
        ({"items": [], "next": None}, "total: Field required"),
        ({"items": "ab", "next": None, "total": 1}, "items: "),
        ({"items": [], "next": 7, "total": 1}, "next: "),
        ({"items": [], "next": None, "total": "1"}, "total: "),
        ({"items": [], "next": "\0", "total": 1}, "no database can hold"),
    ],
)
def test_a_page_that_is_not_as_agreed_is_named(answer, reason):
    with pytest.raises(WrongAnswerError) as caught:
        parse_page("crm", answer)
    assert reason in str(caught.value)


def test_a_page_may_be_the_last_in_two_ways_and_say_no_total():
    found = parse_page("crm", {"items": [{"id": 7, "version": 1}], "next": "", "total": None})

    assert found == ListingPage((ListedItem(id="7", version=1),), None, None)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"id": "../x", "version": 1}, "id: "),
        ({"id": "..", "version": 1}, "id: "),
        ({"id": "urn:a:1", "version": 1}, "id: "),
        ({"id": True, "version": 1}, "id: "),
        ({"id": 10**100, "version": 1}, "id: "),
        ({"id": "a", "version": "1"}, "version: "),
        ({"id": "a", "version": True}, "version: "),
        ({"id": "a", "version": 2**63}, "version: "),
        ({"id": "a"}, "version: Field required"),
        ({"id": "a", "version": 1, "name": "N\0L"}, "no database can hold"),
        (None, "answer: "),
    ],
)
def test_an_item_that_is_not_as_agreed_is_skipped_alone(item, reason):
    good = {"id": "b", "version": 1}

    found = parse_page("crm", {"items": [item, good], "next": None, "total": 2})

    assert [one.id for one in found.items] == ["b"]
    [skipped] = found.skipped
    assert reason in skipped.reason
    assert skipped.item.isascii()
    assert "\0" not in skipped.item


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "b"}, "asked for 'a', it answers with 'b'"),
        ({"name": "N\0L"}, "no database can hold"),
        ({"data": {"x": [{"y": "\ud800"}]}}, "no database can hold"),
        ({"data": {"x": float("nan")}}, "no database can hold nan"),
        ({"data": {"\0": 1}}, "no database can hold"),
        ({"data": []}, "data: "),
        ({"associations": [{"kind": "", "id": "b"}]}, "associations.0.kind"),
        ({"name": ""}, "name: "),
    ],
)
def test_a_record_that_is_not_as_agreed_is_named(change, reason):
    answer = {"id": "a", "version": 1, "name": "A", "data": {}, "associations": []}

    with pytest.raises(WrongAnswerError) as caught:
        parse_record("crm", "a", answer | change)
    assert reason in str(caught.value)


def test_further_fields_of_a_source_are_ignored():
    answer = {"id": "a", "version": 1, "name": "A", "data": {}, "associations": [], "new": 1}

    assert parse_record("crm", "a", answer).name == "A"
