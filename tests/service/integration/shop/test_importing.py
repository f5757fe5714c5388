"""Files of people: uploaded by a form, and shown with their progress."""

import re

import pytest

from actors import import_users
from shop.demo.shop.forms import MAX_FORM_BYTES
from workshed.contrib.storage import storage

CONTENT = b"name,email\r\nZo\xc3\xab,zoe@example.org\r\nBob,bob at example.org\r\n"


def files(content=CONTENT, filename="people.csv"):
    return {"files": {"file": (filename, content, "text/csv")}}


def test_a_file_is_kept_byte_for_byte_and_its_job_is_sent(ada, jobs, rows):
    content = bytes(range(256)) + b"\r\n--\r\n\r\n--x\n" + b"\r\n"

    page = ada.submit("/imports", **files(content, "Zoë's list.csv"))

    ((sha256, filename),) = rows("SELECT sha256, filename FROM shop.imports")
    with storage().open(sha256) as stored:
        assert stored.read() == content
    assert filename == "Zoë's list.csv"
    assert import_users.actor_name in [job.actor for job in jobs.enqueued]
    assert "<bdi>Zoë's list.csv</bdi>" in page


def test_an_import_is_shown_from_its_begin_to_its_end(ada, jobs):
    page = ada.submit("/imports", **files())
    assert 'id="imported" class="live" data-moving>' in page
    assert "<progress aria-label=" in page
    assert "0 rows are read." in page

    jobs.drain()

    page = ada.see()
    assert 'id="imported" class="live">' in page
    assert 'max="2" value="2"' in page
    assert "1 became users, 1 failed." in page
    assert "bob at example.org" in ada.see(failed_rows(page))


def failed_rows(page):
    return "/" + re.search(r'href="(imports/\d+/failures.csv)"', page)[1]


def test_an_import_whose_rows_are_on_their_way_shows_how_many_are_done(ada, rows):
    ada.submit("/imports", **files())
    rows(
        """UPDATE shop.imports SET state = 'processing', rows_read = 4000, queued_upto = 4000,
                  total = 4000, succeeded = 1000, failed = 200 RETURNING 1"""
    )

    page = ada.see()

    assert "data-moving>" in page
    assert 'max="4000" value="1200"' in page
    assert "1,200 of 4,000 rows are done." in page


def test_an_unreadable_file_is_reported(ada, jobs):
    ada.submit("/imports", **files(b"PK\x03\x04 a workbook"))

    jobs.drain()

    page = ada.see()
    assert "No users were imported: it is a workbook of a spreadsheet" in page
    assert "data-moving" not in page


def test_imported_users_get_no_welcome(ada, jobs):
    ada.submit("/imports", **files())

    jobs.drain()

    assert [mail["To"] for mail in jobs.mailbox] == ["Ada <ada@example.org>"]


def test_a_file_without_a_row_is_shown_as_done(ada, jobs):
    ada.submit("/imports", **files(b"name,email\n"))

    jobs.drain()

    page = ada.see()
    assert 'max="1" value="1"' in page
    assert "0 became users, 0 failed." in page


def test_the_same_file_is_accepted_twice_only_on_demand(ada, rows):
    ada.submit("/imports", **files())

    page = ada.refused("/imports", status=409, **files())
    assert "You have handed this file in before, as import" in page
    ada.submit("/imports", {"again": "on"}, **files())

    assert rows("SELECT again FROM shop.imports ORDER BY id") == [(False,), (True,)]


@pytest.mark.parametrize("wrong", [{"files": {"other": ("a.csv", b"a")}}, files(b"", ""), {}])
def test_a_form_without_a_file_is_refused(ada, rows, wrong):
    page = ada.refused("/imports", **wrong)

    assert "Choose a file first." in page
    assert rows("SELECT count(*) FROM shop.imports") == [(0,)]


def test_a_file_that_is_too_large_is_not_taken(ada, rows):
    page = ada.refused("/imports", status=413, **files(bytes(MAX_FORM_BYTES)))

    assert "at most 5 MB are taken" in page
    assert rows("SELECT count(*) FROM shop.imports") == [(0,)]


def test_a_form_that_is_cut_off_is_not_taken(ada, rows):
    """A file that lacks a row would look complete."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    form = {"Sec-Fetch-Site": "same-origin", "Content-Type": "multipart/form-data; boundary=b"}
    whole = head + CONTENT + b"\r\n--b--\r\n"

    for most in (0, len(head), len(whole) - 8, len(whole) - 4):
        answer = ada.post("/imports", content=whole[:most], headers=form)
        assert (most, answer.status_code) == (most, 400)
        assert "did not arrive whole" in answer.text
    assert rows("SELECT count(*) FROM shop.imports") == [(0,)]

    assert ada.post("/imports", content=whole, headers=form).status_code == 303


def test_others_see_neither_the_import_nor_its_failures(ada, jobs, browser):
    ada.submit("/imports", **files())
    jobs.drain()
    path = failed_rows(ada.see())

    browser.client.cookies.clear()
    page = browser.submit("/sign-up", {"name": "Eve", "email": "eve@example.org"})

    assert "people.csv" not in page
    assert browser.client.get(path).status_code == 404
