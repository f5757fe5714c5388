"""The actors that import people, with the middleware around a job."""

import gzip
from pathlib import Path

import pytest

from actors import (
    check_import_completion,
    end_import_rows,
    import_user_rows,
    import_users,
    maintain,
    start_import,
)
from shop import imports, people
from shop.imports import AlreadyImportedError, Layout
from workshed import db, schedule
from workshed.contrib.storage import ContentDamagedError, blobs, storage
from workshed.errors import PermanentError
from workshed.jobs import RecordMissing, Snooze
from workshed.settings import settings

TWO = "name,email\nAda,ada@example.org\nBob,bob@example.org\n"


@pytest.fixture
def chunk(monkeypatch):
    """`chunk(1)`: set the number of rows per job."""

    def of(rows):
        monkeypatch.setenv("SHOP_IMPORT_CHUNK", str(rows))
        settings.cache_clear()

    return of


def sent(jobs, actor):
    return [job for job in jobs.enqueued if job.actor == actor.actor_name]


def test_each_person_in_a_file_becomes_a_user(jobs, hand_in, found, users, notifications, rows_of):
    number = hand_in(TWO)
    assert found(number).state == "pending"

    jobs.drain()

    end = found(number)
    assert (end.state, end.total, end.succeeded, end.failed) == ("completed", 2, 2, 0)
    assert users(number) == [("Ada", "ada@example.org"), ("Bob", "bob@example.org")]
    assert rows_of(number) == [(2, "succeeded", None), (3, "succeeded", None)]
    assert notifications() == [
        ("import_completed", {"import_id": number, "succeeded": 2, "failed": 0})
    ]
    assert jobs.mailbox == []


def test_each_row_ends_with_its_line_and_reason(jobs, hand_in, rows_of, found, users):
    with db.transaction() as conn:
        people.create(conn, name="Zoe", email="zoe@bücher.example")
    content = [
        "name,email",
        "Ada,Ada@Example.org",
        ",stranger@example.org",
        "Bob,",
        "Cyd,cyd at example.org",
        "Ada L.,ADA@EXAMPLE.ORG",
        "Zoe,Zoe@xn--bcher-kva.example",
        "Dan,dan@example.org,extra",
        "Eve",
        "See http://spam.example,eve@example.org",
        f"{'x' * 101},long@example.org",
        "Fay\0,fay@example.org",
        '"Gus\nGreen",gus@example.org',
        "Jose\u0301,jose\u0301@example.org",
        "Jos\u00e9,JOS\u00c9@example.org",
        "Hal,hal@example.org",
    ]

    number = hand_in("\n".join(content))
    jobs.drain()

    assert rows_of(number) == [
        (2, "succeeded", None),
        (3, "failed", "the name is missing"),
        (4, "failed", "the address is missing"),
        (
            5,
            "failed",
            "column 'email': An email address must have an @-sign.",
        ),
        (6, "failed", "line 2 has the same address"),
        (7, "failed", "a user has this address"),
        (8, "failed", "3 columns where the header has 2"),
        (9, "failed", "1 columns where the header has 2"),
        (10, "failed", "column 'name': it holds a link"),
        (11, "failed", "column 'name': it has 101 characters, at most 100 are allowed"),
        (12, "failed", "a NUL in column 'name'"),
        (13, "failed", "column 'name': it holds a line break or another control character"),
        (15, "succeeded", None),
        (16, "failed", "line 15 has the same address"),
        (17, "succeeded", None),
    ]
    end = found(number)
    assert (end.state, end.succeeded, end.failed) == ("completed", 3, 12)
    assert [name for name, _ in users(number)] == ["Ada", "Hal", "Jos\u00e9"]


def test_the_first_row_that_is_right_has_the_address(jobs, hand_in, rows_of):
    """The order of jobs does not matter: those of later rows may run first."""
    number = hand_in("name,email\n,a@example.org\nAda,a@example.org\nBob,a@example.org\n")
    import_users.fn(number)

    import_user_rows.fn(number, 3, 1)
    import_user_rows.fn(number, 1, 2)

    assert rows_of(number) == [
        (2, "failed", "the name is missing"),
        (3, "succeeded", None),
        (4, "failed", "line 3 has the same address"),
    ]


def test_a_job_takes_as_many_rows_as_the_setting_says(jobs, hand_in, found, chunk):
    chunk(2)
    number = hand_in("name,email\n" + "".join(f"A{n},a{n}@example.org\n" for n in range(5)))

    import_users.fn(number)

    parts = [job.message.args for job in sent(jobs, import_user_rows)]
    assert parts == [(number, 1, 2), (number, 3, 2), (number, 5, 1)]
    jobs.drain()
    assert found(number).state == "completed"


def test_one_job_per_row_is_possible(jobs, hand_in, found, chunk):
    chunk(1)
    number = hand_in(TWO)

    jobs.drain()

    runs = [run.message for run in jobs.runs]
    assert [run.args for run in runs if run.actor_name == "import_user_rows"] == [
        (number, 1, 1),
        (number, 2, 1),
    ]
    assert found(number).succeeded == 2


def test_a_copy_of_a_job_changes_nothing(jobs, hand_in, found, users, notifications):
    number = hand_in(TWO)
    jobs.drain()
    before = found(number), users(number), notifications()

    import_users.fn(number)
    import_user_rows.fn(number, 1, 2)
    import_user_rows.fn(number, 1, 1)
    check_import_completion.fn(number)
    jobs.drain()

    assert (found(number), users(number), notifications()) == before


def test_rows_that_overlap_are_counted_once(jobs, hand_in, found):
    number = hand_in(TWO)
    import_users.fn(number)

    import_user_rows.fn(number, 2, 1)
    assert (found(number).state, found(number).succeeded) == ("processing", 1)
    import_user_rows.fn(number, 1, 2)

    assert (found(number).state, found(number).succeeded) == ("completed", 2)


def test_no_row_becomes_a_user_before_the_file_was_read_to_its_end(
    jobs, hand_in, found, users, monkeypatch
):
    """Not even by a job that is sent manually, because the file may still be refused."""
    monkeypatch.setattr(imports.reader, "BATCH", 1)
    monkeypatch.setattr(imports.reader, "LONGEST_S", 0.0)
    number = hand_in(TWO)
    with pytest.raises(Snooze):
        import_users.fn(number)

    import_user_rows.fn(number, 1, 2)
    end_import_rows.fn({"args": [number, 1, 2], "kwargs": {}}, "dies on purpose")

    assert (found(number).rows_read, found(number).failed, users(number)) == (1, 0, [])
    jobs.drain()
    assert found(number).succeeded == 2


def test_a_file_with_a_header_alone_is_completed(jobs, hand_in, found, notifications):
    number = hand_in("name,email\n")

    jobs.drain()

    assert (found(number).state, found(number).total) == ("completed", 0)
    assert notifications() == [
        ("import_completed", {"import_id": number, "succeeded": 0, "failed": 0})
    ]


def test_an_unreadable_file_makes_no_user_and_its_owner_is_notified_and_mailed(
    jobs, hand_in, found, users, rows_of, notifications, monkeypatch
):
    monkeypatch.setattr(imports.reader, "BATCH", 1)
    number = hand_in('name,email\nAda,ada@example.org\n"Bob,b@example.org\n', "new people.csv")
    reason = "line 3, column 'name': a quotation mark opens here and is not closed"

    with jobs.expect_discard(reason):
        jobs.drain()

    end = found(number)
    assert (end.state, end.error, end.rows_read) == ("failed", reason, 0)
    assert users(number) == rows_of(number) == []
    assert notifications() == [("import_failed", {"import_id": number, "error": reason})]
    (mail,) = jobs.mailbox
    assert (mail["To"], mail["Subject"]) == (
        "Grace <grace@example.org>",
        "new people.csv could not be imported",
    )
    assert reason in mail.get_body(("plain",)).get_content()
    assert "not closed" in mail.get_body(("html",)).get_content()


def test_a_job_that_dies_while_it_reads_fails_the_import(jobs, hand_in, found):
    number = hand_in(TWO)
    jobs.fail_next(import_users, PermanentError("dies on purpose"))

    with pytest.raises(PermanentError):
        jobs.drain()

    assert (found(number).state, found(number).error) == (
        "failed",
        "its job died: PermanentError: dies on purpose",
    )
    assert len(jobs.mailbox) == 1


def test_only_the_stored_content_is_imported(jobs, hand_in, found):
    """A file that is changed in the folder of contents is not imported."""
    number = hand_in(TWO)
    with storage().open(found(number).sha256) as file:
        path = Path(file.name)
    with path.open("a") as file:
        file.write("Eve,eve@example.org\n")

    with pytest.raises(ContentDamagedError):
        import_users.fn(number)

    assert found(number).rows_read == 0


def test_reading_continues_after_the_stored_rows(jobs, hand_in, found, users, monkeypatch):
    monkeypatch.setattr(imports.reader, "BATCH", 2)
    monkeypatch.setattr(imports.reader, "LONGEST_S", 0.0)
    number = hand_in("name,email\n" + "".join(f"A{n},a{n}@example.org\n" for n in range(5)))
    seen = []

    for _ in range(3):
        with pytest.raises(Snooze, match=r"rows of import \d+ are read"):
            import_users.fn(number)
        seen.append(found(number).rows_read)
    monkeypatch.setattr(imports.reader, "LONGEST_S", 60.0)
    jobs.drain()

    assert seen == [2, 4, 5]
    assert (found(number).state, len(users(number))) == ("completed", 5)


def test_the_same_file_is_taken_once_but_on_demand(jobs, hand_in, found):
    first = hand_in(TWO)

    with pytest.raises(AlreadyImportedError, match=f"as import {first}, which is pending"):
        hand_in(TWO, "another name.csv")
    jobs.drain()
    with pytest.raises(AlreadyImportedError, match=f"as import {first}, which is completed"):
        hand_in(TWO)
    again = hand_in(TWO, again=True)
    jobs.drain()

    assert (found(again).state, found(again).failed) == ("completed", 2)


def test_a_file_that_could_not_be_read_may_come_again(jobs, hand_in):
    hand_in("name\n")
    with jobs.expect_discard("no column 'email'"):
        jobs.drain()

    hand_in("name\n")


def test_an_import_is_stored_with_its_job_or_not_at_all(jobs, owner):
    """Without its job, an import would wait for a day and block the same file meanwhile."""
    with storage().draft() as draft:
        draft.write(TWO.encode())
        blob = blobs.keep(draft)

    def start_and_fail():
        with db.transaction() as conn:
            start_import(conn, owner.id, "people.csv", blob)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start_and_fail()

    with db.transaction() as conn:
        assert conn.execute("SELECT count(*) FROM shop.imports").fetchone() == (0,)
    assert jobs.enqueued == []


def test_an_owner_must_be_there(jobs, owner, hand_in):
    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.users")

    with pytest.raises(RecordMissing, match=f"user {owner.id}"):
        hand_in(TWO)


def test_imports_are_deleted_with_their_owner(jobs, owner, hand_in, rows_of):
    number = hand_in(TWO)
    jobs.drain()

    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.users WHERE id = %s", (owner.id,))

    assert rows_of(number) == []


def test_imported_users_are_welcomed_on_demand(jobs, hand_in, users):
    number = hand_in(TWO + "Ada,ada@example.org\n", welcome=True)

    jobs.drain()

    assert sorted(mail["To"] for mail in jobs.mailbox) == [
        "Ada <ada@example.org>",
        "Bob <bob@example.org>",
    ]
    assert len(users(number)) == 2


def test_the_rows_of_a_job_that_dies_have_failed(jobs, hand_in, found, rows_of, chunk):
    chunk(2)
    number = hand_in(TWO + ",x@example.org\nDan,dan@example.org\n")
    import_users.fn(number)
    jobs.fail_next(import_user_rows, PermanentError("dies on purpose"))
    jobs.fail_next(import_user_rows, PermanentError("dies on purpose"))

    with pytest.raises(PermanentError):
        jobs.drain()

    assert (found(number).state, found(number).failed) == ("completed", 4)
    died = "its job died: PermanentError: dies on purpose"
    assert [reason for _, _, reason in rows_of(number)] == [
        died,
        died,
        "the name is missing",
        died,
    ]


def test_a_row_that_postgresql_refuses_fails_alone(jobs, hand_in, rows_of, found, monkeypatch):
    long = "x" * 101
    monkeypatch.setattr(people.names, "MAX_LENGTH", 200)
    number = hand_in(
        "name,email\n"
        + "".join(f"A{n},a{n}@example.org\n" for n in range(5))
        + f"{long},bob@example.org\n"
    )

    jobs.drain()

    assert found(number).succeeded == 5
    assert [row for row in rows_of(number) if row[1] == "failed"] == [
        (7, "failed", 'new row for relation "users" violates check constraint "users_name"')
    ]


def test_the_check_looks_again_less_and_less_often_until_it_is_over(jobs, hand_in, found):
    number = hand_in(TWO)
    import_users.fn(number)
    waits = []

    for _ in range(9):
        (look,) = sent(jobs, check_import_completion)
        waits.append(round((look.due_at - look.sent_at).total_seconds() / 60))
        jobs.perform(check_import_completion, *look.message.args)
        with db.transaction() as conn:
            schedule.cancel(conn, look.message_id)
    jobs.drain()
    jobs.advance(days=1)
    jobs.drain()

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert (found(number).state, jobs.enqueued) == ("completed", [])


@pytest.mark.parametrize("lost", ["import_users", "import_user_rows"])
def test_lost_jobs_are_sent_again(jobs, hand_in, found, lost):
    """For example when a queue is purged: nothing else of the job is released."""
    number = hand_in(TWO)
    if lost == "import_user_rows":
        import_users.fn(number)
    with db.transaction() as conn:
        assert conn.execute("DELETE FROM workshed.schedule WHERE actor = %s", (lost,)).rowcount == 1

    for _ in range(2):
        jobs.advance(minutes=5)
        jobs.drain()

    assert found(number).state == "completed"


def test_lost_rows_are_sent_again_in_few_jobs(jobs, hand_in, found, chunk):
    """With 500 jobs of one row per check, 100 000 rows would take weeks."""
    chunk(1)
    number = hand_in("name,email\n" + "".join(f"A{n},a{n}@example.org\n" for n in range(2_000)))
    import_users.fn(number)
    with db.transaction() as conn:
        lost = conn.execute(
            "DELETE FROM workshed.schedule WHERE actor = 'import_user_rows'"
        ).rowcount
    assert lost == 2_000

    for _ in range(2):
        jobs.advance(minutes=5)
        jobs.drain()

    assert found(number).state == "completed"
    again = [run for run in jobs.runs if run.message.actor_name == "import_user_rows"]
    assert len(again) == 2


def test_an_import_whose_look_was_lost_is_found_at_night(jobs, hand_in, found):
    number = hand_in(TWO)
    with db.transaction() as conn:
        conn.execute("DELETE FROM workshed.schedule")

    jobs.advance(hours=25)
    maintain.fn()
    for _ in range(3):
        jobs.advance(minutes=5)
        jobs.drain()

    assert found(number).state == "completed"


def test_the_list_of_failures_can_be_corrected_and_handed_in(
    jobs, hand_in, failures, rows_of, users
):
    number = hand_in(
        "E-Mail;Name\n;=1+1\nbob@example.org;\nada@example.org;Ada\nADA@example.org;-Ada\nx;y;z\n"
    )
    jobs.drain()

    listed = failures(number)

    assert listed == [
        ["line", "reason", "E-Mail", "Name"],
        ["2", "the address is missing", "", "'=1+1"],
        ["3", "the name is missing", "bob@example.org", ""],
        ["5", "line 4 has the same address", "ADA@example.org", "'-Ada"],
        ["6", "3 columns where the header has 2", "x", "y", "z"],
    ]
    listed[1][2], listed[2][3] = "cyd@example.org", "Bob"
    again = hand_in("\n".join(",".join(row) for row in listed[:3]))
    jobs.drain()
    assert rows_of(again) == [(2, "succeeded", None), (3, "succeeded", None)]
    assert users(again) == [("Bob", "bob@example.org"), ("=1+1", "cyd@example.org")]


def test_an_import_that_was_not_read_yet_has_no_failures_in_any_layout(hand_in, failures):
    """Its header is not known yet, so neither are the positions of the named columns."""
    number = hand_in("Private address\nada@example.org\n", layout=Layout(email="Private address"))

    assert failures(number) == [["line", "reason", "name", "email"]]


def test_the_whole_row_of_a_failure_comes_back(jobs, hand_in, failures, users, found):
    """This includes a row that fails late, because a user has its address."""
    content = "id;Email Address;City;First;Last\n"
    content += "1;ada@example.org;London;Ada;Lovelace\n2;ADA@example.org;Paris;A.;L.\n"
    content += (
        "3;grace@example.org;=1+1;Grace;Hopper\n4;;Rome;Eve\n5;f@example.org;Bonn;Fay;Green;x\n"
    )
    number = hand_in(content, layout=Layout(name="{Last}, {First}"))

    jobs.drain()

    assert users(number) == [("Lovelace, Ada", "ada@example.org")]
    assert (found(number).skipped, found(number).name_column) == (["id", "City"], "{Last}, {First}")
    listed = failures(number)
    assert listed == [
        ["line", "reason", "id", "Email Address", "City", "First", "Last"],
        ["3", "line 2 has the same address", "2", "ADA@example.org", "Paris", "A.", "L."],
        ["4", "a user has this address", "3", "grace@example.org", "'=1+1", "Grace", "Hopper"],
        ["5", "the address is missing", "4", "", "Rome", "Eve", ""],
        [
            "6",
            "6 columns where the header has 5",
            "5",
            "f@example.org",
            "Bonn",
            "Fay",
            "Green",
            "x",
        ],
    ]
    with db.transaction() as conn:
        query = "SELECT cells FROM shop.import_rows WHERE outcome = 'succeeded'"
        assert conn.execute(query).fetchall() == [(None,)]
    listed[3][3] = "eve@example.org"
    again = hand_in("\n".join(",".join(row) for row in (listed[0], listed[3])))
    jobs.drain()
    assert users(again) == [("Eve", "eve@example.org")]


def test_how_a_file_was_read_is_kept(jobs, hand_in, found):
    number = hand_in("name;email\nZoë;zoe@example.org\n".encode("cp1252"))

    jobs.drain()

    end = found(number)
    assert (end.encoding, end.is_guess, end.delimiter) == ("windows-1252", True, ";")
    assert (end.email_column, end.name_column, end.skipped) == ("email", "name", [])


def test_no_user_is_made_of_a_file_whose_names_look_wrong(jobs, hand_in, found, users, monkeypatch):
    """Not even by a second run, which continues after `rows_read`."""
    monkeypatch.setattr(imports.reader, "BATCH", 1)
    monkeypatch.setattr(imports.reader, "LONGEST_S", 0.0)
    content = "name,email\nZoë,zoe@example.org\nJiří Dvořák,j@example.org\n".encode("cp1250")
    number = hand_in(content, welcome=True)
    with pytest.raises(Snooze):
        import_users.fn(number)
    assert found(number).rows_read == 1

    with jobs.expect_discard("in windows-1250 it reads 'Jiří Dvořák'"):
        jobs.drain()

    assert (found(number).state, users(number)) == ("failed", [])
    again = hand_in(content, layout=Layout("windows-1250"))
    monkeypatch.setattr(imports.reader, "LONGEST_S", 60.0)
    jobs.drain()
    assert users(again) == [("Jiří Dvořák", "j@example.org"), ("Zoë", "zoe@example.org")]
    assert (found(again).encoding, found(again).is_guess) == ("windows-1250", False)


def test_a_packed_file_is_continued_after_the_stored_rows(jobs, hand_in, users, monkeypatch):
    monkeypatch.setattr(imports.reader, "BATCH", 1)
    monkeypatch.setattr(imports.reader, "LONGEST_S", 0.0)
    number = hand_in(gzip.compress(TWO.encode()), "people.csv.gz")
    with pytest.raises(Snooze):
        import_users.fn(number)
    monkeypatch.setattr(imports.reader, "LONGEST_S", 60.0)

    jobs.drain()

    assert users(number) == [("Ada", "ada@example.org"), ("Bob", "bob@example.org")]


def test_old_imports_are_deleted_but_not_their_users(jobs, hand_in, rows_of, users):
    number = hand_in(TWO)
    jobs.drain()

    jobs.advance(days=91)
    jobs.perform(maintain)

    assert rows_of(number) == []
    assert len(users(number)) == 2
