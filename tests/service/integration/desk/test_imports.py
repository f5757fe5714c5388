"""Imports on the console: the progress of each, and the failed rows."""

import csv
import io

import pytest

from shop import imports, people
from workshed import db
from workshed.contrib.storage import blobs, storage
from workshed.settings import settings

SCRIPT = "<script>alert(1)</script>"
CSV = f"""name,email
Ada,ada@example.org
{SCRIPT},stranger
=1+1,also stranger
"""


@pytest.fixture
def owner(database, conn, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/storage")
    settings.cache_clear()
    return people.create(conn, name="Grace", email="grace@example.org")


@pytest.fixture
def handed_in(owner):
    """`handed_in("name,email\\n…")`: store an import that has not started; returns its id."""

    def hand_in(content=CSV, filename="people.csv"):
        with storage().draft() as draft:
            draft.write(content.encode() if isinstance(content, str) else content)
            blob = blobs.keep(draft)
        with db.transaction() as conn:
            return imports.create(conn, owner.id, filename, blob.sha256, again=True)

    return hand_in


@pytest.fixture
def imported(handed_in):
    """`imported("name,email\\n…")`: run an import to its end; returns its id."""

    def work(*args, **given):
        import_id = handed_in(*args, **given)
        imports.read_file(import_id)
        with db.transaction() as conn:
            for part in imports.next_ranges(conn, import_id, 1_000, 100):
                imports.count_results(conn, import_id, imports.create_users(conn, part))
        return import_id

    return work


def test_without_imports_the_page_says_how_to_make_one(reader):
    assert "python -m shop import people.csv" in reader.get("/imports").text
    assert reader.json("/imports") == {"imports": [], "older": None}


def test_an_import_is_listed_with_its_progress(reader, imported):
    import_id = imported()

    [found] = reader.json("/imports")["imports"]

    assert (found["id"], found["filename"], found["state"]) == (
        import_id,
        "people.csv",
        "completed",
    )
    assert found["owner"]["email"] == "grace@example.org"
    assert found["rows"] == {"read": 3, "total": 3, "ended": 3, "succeeded": 1, "failed": 2}
    text = reader.get("/imports").text
    assert "<small>1 succeeded, 2 failed</small>" in text
    assert "grace@example.org" in text


def test_an_import_that_has_not_started_is_shown(reader, handed_in):
    import_id = handed_in()

    assert "0 rows read" in reader.get("/imports").text
    assert "still reading" in reader.get(f"/import?id={import_id}").text


def test_an_import_that_failed_says_why(reader, handed_in, conn):
    import_id = handed_in()
    imports.fail_import(conn, import_id, f"no column {SCRIPT}")

    for path in ("/imports", f"/import?id={import_id}"):
        text = reader.get(path).text
        assert "no column &lt;script&gt;" in text
        assert SCRIPT not in text


def test_the_list_goes_on(reader, handed_in):
    ids = [handed_in() for _ in range(51)]

    first = reader.json("/imports")
    rest = reader.json(f"/imports?before={first['older']}")

    assert [one["id"] for one in first["imports"]] == ids[:0:-1]
    assert [one["id"] for one in rest["imports"]] == ids[:1]
    assert rest["older"] is None
    assert f"before={first['older']}" in reader.get("/imports").text


def test_the_rows_that_failed_are_shown_with_their_reasons(reader, imported):
    import_id = imported()

    shown = reader.json(f"/import?id={import_id}")

    assert [(row["line"], row["cells"]) for row in shown["failures"]] == [
        (3, [SCRIPT, "stranger"]),
        (4, ["=1+1", "also stranger"]),
    ]
    assert all("email" in row["reason"] for row in shown["failures"])
    [kind] = shown["problems"]
    assert (kind["problem"], kind["rows"], kind["line"]) == ("address", 2, 3)
    text = reader.get(f"/import?id={import_id}").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert SCRIPT not in text
    assert f"/import/failed-rows.csv?id={import_id}" in text


def test_how_the_file_was_read_is_shown(reader, imported):
    import_id = imported("nr,name,email\n1,Zoë,zoe@example.org\n".encode("cp1252"))

    found = reader.json(f"/import?id={import_id}")["import"]

    assert (found["encoding"], found["is_guess"]) == ("windows-1252", True)
    assert (found["name_column"], found["email_column"], found["skipped"]) == (
        "name",
        "email",
        ["nr"],
    )
    text = reader.get(f"/import?id={import_id}").text
    assert "guessed; look at the names" in text
    assert "<dt>Columns skipped</dt><dd>nr</dd>" in text


def test_of_many_rows_that_failed_the_first_are_shown(reader, imported):
    import_id = imported("name,email\n" + "Ada,stranger\n" * 101)

    assert len(reader.json(f"/import?id={import_id}")["failures"]) == 100
    assert "Here are the first 100" in reader.get(f"/import?id={import_id}").text


def test_rows_that_all_became_users_are_good_news(reader, imported):
    import_id = imported("name,email\nAda,ada@example.org\n")

    assert "No rows failed." in reader.get(f"/import?id={import_id}").text


def test_the_name_of_a_file_is_text(reader, handed_in):
    import_id = handed_in(filename='"><img src=x>.csv')

    for path in ("/imports", f"/import?id={import_id}"):
        assert "<img" not in reader.get(path).text


def test_rows_that_failed_can_be_downloaded(reader, imported):
    answer = reader.get(f"/import/failed-rows.csv?id={imported()}")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="import-')
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "sandbox" in answer.headers["content-security-policy"]
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert [row[0] for row in rows] == ["line", "3", "4"]
    assert rows[2][2] == "'=1+1"


def test_a_long_list_of_failed_rows_is_sent_whole(reader, imported):
    import_id = imported("name,email\n" + f"{'A' * 500},stranger\n" * 3_000)

    answer = reader.get(f"/import/failed-rows.csv?id={import_id}")

    assert len(answer.content) > 1 << 20
    assert answer.text.count("\r\n") == 3_001


@pytest.mark.parametrize("path", ["/import", "/import/failed-rows.csv"])
def test_an_import_that_is_not_there_is_not_found(reader, path):
    assert reader.get(path).status_code == 404
    assert reader.get(f"{path}?id=7").status_code == 404
    assert reader.get(f"{path}?id=..%2F").status_code == 400
