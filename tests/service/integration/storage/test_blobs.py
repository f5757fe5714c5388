"""Contents with rows: used ones stay and unused ones go, whichever process dies meanwhile."""

import hashlib
import os
import subprocess
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest

from shop import people
from shop.images import variants
from workshed import db
from workshed.contrib.storage import ContentMissingError, StorageError, blobs, storage
from workshed.contrib.storage.blobs import Blob, BlobTooLargeError

HOUR = timedelta(hours=1)


def named(content):
    return hashlib.sha256(content).hexdigest()


pytestmark = pytest.mark.usefixtures("database", "configured")


@pytest.fixture
def rows(connect):
    """`rows("SELECT …")`: run a query in its own transaction."""
    conn = connect(autocommit=True)
    return lambda query, *values: conn.execute(query, values).fetchall()


@pytest.fixture
def stored(rows):
    """`stored(b"…", hours=2)`: store a content as if hours ago, and return its name."""

    def stored(content, hours=0):
        with storage().draft() as draft:
            draft.write(content)
            blob = blobs.keep(draft)
        query = """
            UPDATE workshed_storage.blobs SET stored_at = workshed.now() - %s
             WHERE sha256 = %s RETURNING 1
        """
        rows(query, timedelta(hours=hours), blob.sha256)
        return blob.sha256

    return stored


@pytest.fixture
def attach(database):
    """`attach(sha256)`: store a user's attachment with this content, and return its id."""
    with db.transaction() as conn:
        user = people.create(conn, name="Ada Lovelace", email="ada@example.org")
    query = """
        INSERT INTO shop.attachments (user_id, filename, sha256)
        VALUES (%s, 'a.png', %s) RETURNING id
    """

    def attach(sha256):
        with db.transaction() as conn:
            return conn.execute(query, (user.id, sha256)).fetchone()[0]

    return attach


VARIANT = """
    INSERT INTO shop.image_variants (original, box_width, box_height, quality, format, codec,
                                        sha256, media_type, width, height, frames)
    VALUES (%s, 80, 60, 85, 'jpeg', 'test', %s, 'image/jpeg', 80, 60, 1)
    RETURNING 1
"""


def kept(sha256):
    try:
        with storage().open(sha256) as file:
            return hashlib.sha256(file.read()).hexdigest() == sha256
    except ContentMissingError:
        return False


def known(rows):
    return [
        sha256 for (sha256,) in rows("SELECT sha256 FROM workshed_storage.blobs ORDER BY stored_at")
    ]


# Storing


def test_a_draft_is_kept_with_a_row(rows):
    with storage().draft() as draft:
        draft.write(b"hello")
        blob = blobs.keep(draft)

    assert blob == Blob(named(b"hello"), 5)
    assert rows("SELECT sha256, size_bytes FROM workshed_storage.blobs") == [(named(b"hello"), 5)]
    assert kept(blob.sha256)


def test_a_draft_is_kept_from_its_beginning_wherever_it_stands(rows):
    with storage().draft() as draft:
        draft.write(b"hello")
        draft.seek(2)
        assert blobs.keep(draft).sha256 == named(b"hello")


def test_what_a_child_wrote_through_the_descriptor_is_kept():
    with storage().draft() as draft:
        subprocess.run(["printf", "made by a child"], stdout=draft.fileno(), check=True)
        blob = blobs.keep(draft)

    assert blob == Blob(named(b"made by a child"), 15)
    assert kept(blob.sha256)


def test_what_was_read_before_another_process_wrote_is_forgotten():
    """A file object keeps data that it has read ahead, and would return it again."""
    with storage().draft() as draft:
        draft.write(b"before")
        draft.seek(0)
        draft.read(1)
        os.pwrite(draft.fileno(), b"AFTER.", 0)
        blob = blobs.keep(draft)

    assert blob.sha256 == named(b"AFTER.")


def test_an_empty_content_is_one():
    with storage().draft() as draft:
        assert blobs.keep(draft) == Blob(named(b""), 0)


def test_a_content_that_is_kept_again_is_young(rows, stored):
    stored(b"hello", hours=2)

    stored(b"hello")

    age = "SELECT workshed.now() - stored_at < interval '1 minute' FROM workshed_storage.blobs"
    assert rows(age) == [(True,)]


def test_more_than_the_caller_takes_is_refused_and_nothing_is_kept(rows):
    with storage().draft() as draft:
        draft.write(b"hello")
        with pytest.raises(BlobTooLargeError, match="it has 5 bytes; at most 4 are accepted"):
            blobs.keep(draft, most_bytes=4)

    assert known(rows) == []
    assert not kept(named(b"hello"))


def test_as_much_as_the_caller_takes_is_kept():
    with storage().draft() as draft:
        draft.write(b"hello")
        assert blobs.keep(draft, most_bytes=5).size_bytes == 5


def test_in_a_transaction_of_the_caller_nothing_is_kept(rows):
    """The content would be there before the row commits, and for ever if it never does."""
    with db.transaction() as conn, db.join_transaction(conn), storage().draft() as draft:
        with pytest.raises(RuntimeError, match="leave out once=True"):
            blobs.keep(draft)
        with pytest.raises(RuntimeError, match="leave out once=True"):
            blobs.delete_unreferenced(HOUR, 10)

    assert known(rows) == []


@pytest.fixture
def broken(monkeypatch):
    """`broken("keep")`: a storage with one function that fails, or first does something else."""

    def broken(name, first):
        whole = storage()
        does = getattr(whole, name)

        def fail(*args):
            first(*args)
            return does(*args)

        monkeypatch.setattr(whole, name, fail)

    return broken


def test_the_row_is_there_before_the_content(rows, broken):
    """Otherwise a crash between the two leaves an unknown content that is never deleted."""
    seen = []
    broken("keep", lambda draft, sha256: seen.append((known(rows), kept(sha256))))

    with storage().draft() as draft:
        draft.write(b"hello")
        blobs.keep(draft)

    assert seen == [([named(b"hello")], False)]


# Sweeping


def test_unused_contents_are_deleted_after_their_time(rows, stored):
    old, young = stored(b"old", hours=2), stored(b"young")

    assert blobs.delete_unreferenced(HOUR, 10) == 1

    assert known(rows) == [young]
    assert (kept(old), kept(young)) == (False, True)


def test_a_content_without_a_row_is_given_one_and_deleted_after_its_time(rows, stored, monkeypatch):
    """For example after restoring PostgreSQL to a time before it was stored."""
    monkeypatch.setattr(blobs, "IMPORTED_AT_ONCE", 2)
    names = [stored(text) for text in (b"one", b"two", b"three")]
    stays = stored(b"four")
    rows("DELETE FROM workshed_storage.blobs WHERE sha256 <> %s RETURNING 1", stays)

    assert blobs.import_existing() == 3
    assert blobs.import_existing() == 0

    assert blobs.delete_unreferenced(HOUR, 10) == 0
    rows("UPDATE workshed_storage.blobs SET stored_at = stored_at - %s RETURNING 1", 2 * HOUR)
    assert blobs.delete_unreferenced(HOUR, 10) == 4
    assert not any(kept(name) for name in names)


def test_a_content_in_use_stays(rows, stored, attach):
    sha256 = stored(b"hello", hours=2)
    attach(sha256)

    assert blobs.delete_unreferenced(HOUR, 10) == 0

    assert kept(sha256)


def test_a_variant_and_its_original_stay_while_the_original_is_in_use(conn, rows, stored, attach):
    original, variant = stored(b"original", hours=2), stored(b"variant", hours=2)
    attach(original)
    rows(VARIANT, original, variant)

    assert variants.delete_orphaned_variants(conn, HOUR, 10) == 0
    assert blobs.delete_unreferenced(HOUR, 10) == 0

    assert kept(original)
    assert kept(variant)


def test_a_variant_with_a_row_keeps_its_original(rows, stored):
    original, variant = stored(b"original", hours=2), stored(b"variant", hours=2)
    rows(VARIANT, original, variant)

    assert blobs.delete_unreferenced(HOUR, 10) == 0

    assert known(rows) == [original, variant]


def test_the_file_of_a_mail_stays_as_long_as_the_mail_does(rows, stored):
    """It does not keep others from being swept, although it is the oldest."""
    kept_one, other = stored(b"chart", hours=3), stored(b"other", hours=2)
    rows(
        """WITH mail AS (
               INSERT INTO workshed_mail.emails
                      (kind, recipient, recipient_name, subject, text_body, message_id)
               VALUES ('daily_report', 'a@example.org', 'Ada', 'Report', '', '<1@x>')
               RETURNING id)
           INSERT INTO workshed_mail.email_files
           SELECT id, 1, 'a.png', 'image/png', 'a@x', %s FROM mail RETURNING 1""",
        kept_one,
    )

    assert [blobs.delete_unreferenced(HOUR, 1) for _ in range(2)] == [1, 0]
    assert (kept(kept_one), kept(other)) == (True, False)
    rows("DELETE FROM workshed_mail.emails RETURNING 1")

    assert blobs.delete_unreferenced(HOUR, 1) == 1
    assert not kept(kept_one)


def test_contents_used_by_a_table_of_any_application_stay(conn, rows, stored):
    """The storage finds the table by its foreign key, without any configuration."""
    kept_one, other = stored(b"invoice", hours=2), stored(b"other", hours=2)
    conn.execute("""
        CREATE SCHEMA "Some accounts";
        CREATE TABLE "Some accounts"."Invoices" (
            id int, "Its file" text REFERENCES workshed_storage.blobs)
    """)
    conn.execute("""INSERT INTO "Some accounts"."Invoices" VALUES (1, %s)""", (kept_one,))
    conn.commit()

    assert [blobs.delete_unreferenced(HOUR, 1) for _ in range(2)] == [1, 0]
    assert (kept(kept_one), kept(other)) == (True, False)

    conn.execute("""DELETE FROM "Some accounts"."Invoices" """)
    conn.commit()
    assert blobs.delete_unreferenced(HOUR, 10) == 1


@pytest.mark.parametrize(
    "key", ["DEFERRABLE INITIALLY DEFERRED", "ON DELETE CASCADE", "ON DELETE SET NULL"]
)
def test_a_content_referred_to_while_swept_stays_with_any_key(
    conn, connect, stored, monkeypatch, key
):
    """Not every kind of foreign key refuses the deletion immediately."""
    sha256 = stored(b"invoice", hours=2)
    conn.execute(f"CREATE TABLE invoices (file text REFERENCES workshed_storage.blobs {key})")
    conn.commit()
    find = blobs._list_unused

    def refer_then(*args):
        found = find(*args)
        connect(autocommit=True).execute("INSERT INTO invoices VALUES (%s)", (sha256,))
        return found

    monkeypatch.setattr(blobs, "_list_unused", refer_then)

    assert blobs.delete_unreferenced(HOUR, 10) == 0
    assert kept(sha256)
    assert conn.execute("SELECT file FROM invoices").fetchall() == [(sha256,)]


def test_a_variant_goes_with_the_last_that_had_its_original(conn, rows, stored, attach):
    original, variant = stored(b"original", hours=2), stored(b"variant", hours=2)
    attach(original), attach(original)
    rows(VARIANT, original, variant)
    rows("DELETE FROM shop.attachments WHERE id = 1 RETURNING 1")
    assert variants.delete_orphaned_variants(conn, HOUR, 10) == 0

    rows("DELETE FROM shop.attachments RETURNING 1")
    assert variants.delete_orphaned_variants(conn, HOUR, 10) == 1
    conn.commit()

    assert blobs.delete_unreferenced(HOUR, 10) == 2
    assert not kept(variant)


def test_a_variant_of_what_was_uploaded_again_just_now_is_not_forgotten(conn, rows, stored):
    original, variant = stored(b"original"), stored(b"variant", hours=2)
    rows(VARIANT, original, variant)

    assert variants.delete_orphaned_variants(conn, HOUR, 10) == 0


def test_variants_are_forgotten_in_batches(conn, rows, stored):
    variant = stored(b"variant", hours=2)
    for number in range(3):
        rows(VARIANT, stored(b"%d" % number, hours=2), variant)

    assert [variants.delete_orphaned_variants(conn, HOUR, 2) for _ in range(3)] == [2, 1, 0]


def test_no_more_are_swept_than_wanted_and_the_oldest_first(rows, stored):
    for hours in (2, 4, 3):
        stored(b"%d" % hours, hours=hours)

    assert blobs.delete_unreferenced(HOUR, 2) == 2

    assert known(rows) == [named(b"2")]


# Storing and sweeping at the same time


class BlockingCall:
    """A function that blocks its caller until it is released."""

    def __init__(self):
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, *_):
        self.reached.set()
        assert self.go.wait(60)


@contextmanager
def running(function, *args):
    """Run a function in a thread, which ends with the block; yields its result."""
    result, errors = [], []

    def run():
        try:
            result.append(function(*args))
        except BaseException as err:  # noqa: BLE001 -- raised below
            errors.append(err)

    thread = threading.Thread(target=run)
    thread.start()
    yield result
    thread.join(60)
    assert not errors, errors


def waits_for_a_lock(rows):
    query = """
        SELECT 1 FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    return bool(rows(query))


def test_a_content_that_is_stored_again_while_it_is_deleted_is_there_afterwards(
    rows, stored, broken, eventually
):
    """Without the lock, the content is seen, left as it is, and deleted a moment later."""
    sha256 = stored(b"hello", hours=2)
    delete = BlockingCall()
    broken("delete", delete)

    with running(blobs.delete_unreferenced, HOUR, 10) as swept:
        assert delete.reached.wait(60)
        with running(stored, b"hello"):
            eventually(lambda: waits_for_a_lock(rows))
            delete.go.set()

    assert swept == [1]
    assert known(rows) == [sha256]
    assert kept(sha256)


def test_contents_being_stored_are_not_swept(rows, stored, broken):
    """Its row is young before its content is written, even if the row was old."""
    sha256 = stored(b"hello", hours=2)
    write = BlockingCall()
    broken("keep", write)

    with running(stored, b"hello"):
        assert write.reached.wait(60)
        assert blobs.delete_unreferenced(HOUR, 10) == 0
        write.go.set()

    assert known(rows) == [sha256]
    assert kept(sha256)


def test_a_content_whose_deletion_did_not_commit_is_written_when_it_is_stored_again(
    rows, stored, broken
):
    """The content is gone but its row is not, so storing must not rely on the row."""
    sha256 = stored(b"hello", hours=2)

    def crash(sha256):
        raise StorageError("here", "no answer")

    whole = storage().delete
    broken("delete", lambda sha256: (whole(sha256), crash(sha256)))
    with pytest.raises(StorageError):
        blobs.delete_unreferenced(HOUR, 10)
    assert known(rows) == [sha256]
    assert not kept(sha256)

    stored(b"hello")

    assert kept(sha256)


def test_a_content_referred_to_during_a_sweep_stays(conn, rows, stored, attach, monkeypatch):
    """The new reference commits after the sweep's query and before its lock."""
    sha256 = stored(b"hello", hours=2)
    look = blobs._list_unused
    monkeypatch.setattr(blobs, "_list_unused", lambda *args: [look(*args), attach(sha256)][0])

    assert blobs.delete_unreferenced(HOUR, 10) == 0

    assert kept(sha256)


def test_a_content_stored_again_during_a_sweep_stays(rows, stored, monkeypatch):
    sha256 = stored(b"hello", hours=2)
    look = blobs._list_unused
    monkeypatch.setattr(blobs, "_list_unused", lambda *args: [look(*args), stored(b"hello")][0])

    assert blobs.delete_unreferenced(HOUR, 10) == 0

    assert known(rows) == [sha256]
    assert kept(sha256)


def test_a_reference_to_a_content_being_deleted_is_refused(
    rows, stored, attach, broken, eventually
):
    stored_one = stored(b"hello", hours=2)
    delete, outcome = BlockingCall(), []
    broken("delete", delete)

    def take():
        try:
            attach(stored_one)
        except Exception as err:  # noqa: BLE001 -- checked below
            outcome.append(type(err).__name__)

    with running(blobs.delete_unreferenced, HOUR, 10):
        assert delete.reached.wait(60)
        with running(take):
            eventually(lambda: waits_for_a_lock(rows))
            delete.go.set()

    assert outcome == ["ForeignKeyViolation"]


def test_contents_that_another_sweep_deletes_are_skipped(rows, stored, broken):
    stored(b"hello", hours=2)
    delete = BlockingCall()
    broken("delete", delete)

    with running(blobs.delete_unreferenced, HOUR, 10) as first:
        assert delete.reached.wait(60)
        assert blobs.delete_unreferenced(HOUR, 10) == 0
        delete.go.set()

    assert first == [1]


def test_a_sweep_of_a_storage_that_is_away_raises_and_keeps_the_rows(rows, stored, monkeypatch):
    sha256 = stored(b"hello", hours=2)

    def away(sha256):
        raise StorageError("here", "no answer")

    monkeypatch.setattr(storage(), "delete", away)

    with pytest.raises(StorageError):
        blobs.delete_unreferenced(HOUR, 10)

    assert known(rows) == [sha256]


KILLED = """
import os, signal, sys
from datetime import timedelta
from workshed.contrib.storage import blobs
from workshed.contrib.storage import storage

def dies_at(line):
    left = line
    def trace(frame, event, _):
        nonlocal left
        name = frame.f_code.co_filename
        if not ("/workshed/contrib/storage/blobs" in name or "/workshed/contrib/storage/" in name):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    return trace

def keep():
    with storage().draft() as draft:
        draft.write(b"hello" * 1000)
        blobs.keep(draft)

def sweep():
    blobs.delete_unreferenced(timedelta(hours=1), 10)

for line in map(int, sys.stdin):
    if os.fork() == 0:
        sys.settrace(dies_at(line))
        {"keep": keep, "sweep": sweep}[sys.argv[1]]()
        sys.settrace(None)
        sys.exit()
    _, status = os.wait()
    print(line, os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.mark.parametrize("what", ["keep", "sweep"])
def test_a_process_that_is_killed_at_any_line_leaves_no_content_without_a_row(
    what, rows, stored, configured, python
):
    """Contents stored afterwards are there."""
    content = b"hello" * 1000
    child = python(KILLED, what, stdin=subprocess.PIPE)
    for line in range(1, 200, 4):
        if what == "sweep":
            stored(content, hours=2)
        print(line, file=child.stdin, flush=True)
        survived = child.stdout.readline() == f"{line} 0\n"

        assert len(configured.visible()) <= len(known(rows))
        assert kept(stored(content))
        rows("DELETE FROM workshed_storage.blobs RETURNING 1")
        storage().delete(named(content))
        if survived:
            break

    assert survived
    assert line > 20
