"""Contents in a folder: complete whenever they are visible, and after a power cut."""

import hashlib
import os
import re
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from workshed.contrib.storage import ContentDamagedError, StorageError, create_storage

WRITER = """
import hashlib, random, sys
from workshed.contrib.storage import create_storage

storage, seed = create_storage(sys.argv[1]), int(sys.argv[2])
for number in range(50):
    content = random.Random(seed * 100 + number % 40).randbytes(500_000)  # some twice
    with storage.draft() as draft:
        for at in range(0, len(content), 10_000):
            draft.write(content[at:at + 10_000])
            draft.flush()
        storage.keep(draft, hashlib.sha256(content).hexdigest())
"""


def names(folder):
    """Return the files that a reader without knowledge of drafts finds."""
    return [path for path in folder.rglob("*") if re.fullmatch("[0-9a-f]{64}", path.name)]


def test_a_reader_sees_only_whole_contents_while_many_are_written(folder, python):
    """Four processes write 200 contents; two of them write the same ones."""
    writers = [python(WRITER, folder.url, seed) for seed in (1, 1, 2, 3)]
    seen, goes_on = {}, True

    while goes_on:
        goes_on = any(writer.poll() is None for writer in writers)
        for path in names(folder.folder):
            if path.name not in seen:  # as soon as it appears
                seen[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()

    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    assert len(seen) == 3 * 40
    assert [found for name, found in seen.items() if name != found] == []


@pytest.fixture
def steps(monkeypatch):
    """The calls that sync or rename files, in order."""
    found, sync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        sync(descriptor)
        found.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def moved(source, target):
        replace(source, target)
        found.append("moved")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    return found


def test_a_draft_is_on_disk_before_it_has_its_name_and_its_name_before_keep_returns(
    folder, store, steps
):
    """In another order, a power cut could leave a name with no content or half of it."""
    name = store(folder.storage, b"hello")

    at = steps.index("moved")
    assert steps[: at - 2][-1].startswith(f"{folder.folder}/.drafts/")
    assert steps[at + 1 :] == [
        f"{folder.folder}/{name[:2]}/{name[2:4]}",
        f"{folder.folder}/{name[:2]}",
        f"{folder.folder}",
    ]


def test_a_name_that_is_there_is_on_disk_before_keep_returns(folder, store, steps):
    """Its writer may not have synced it yet, and a power cut would lose it for both."""
    name = store(folder.storage, b"hello")
    steps.clear()

    store(folder.storage, b"hello")

    assert steps[1] == f"{folder.folder}/{name[:2]}/{name[2:4]}"


def test_folders_that_are_made_are_on_disk(folder, store, steps):
    store(folder.storage, b"hello")

    assert steps[:3] == [
        str(folder.folder.parents[1]),
        str(folder.folder.parent),
        str(folder.folder),
    ]


def test_a_content_that_was_deleted_is_not_back_after_a_power_cut(folder, store, steps):
    """Its row is gone by then, so it would never be deleted."""
    name = store(folder.storage, b"hello")
    steps.clear()

    folder.storage.delete(name)

    assert steps == [f"{folder.folder}/{name[:2]}/{name[2:4]}"]


def test_the_umask_decides_who_reads_a_content(folder, store):
    before = os.umask(0o027)
    try:
        name = store(folder.storage, b"hello")
    finally:
        os.umask(before)

    [path] = names(folder.folder)
    assert path.name == name
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_content_is_lent_for_reading_only(folder, store):
    name = store(folder.storage, b"hello")

    with folder.storage.open(name) as file, pytest.raises(OSError, match="Bad file descriptor"):
        os.write(file.fileno(), b"x")


def test_stale_drafts_are_deleted_and_young_ones_left(folder, store):
    store(folder.storage, b"hello")
    for number, hours in enumerate((1, 25, 26)):
        path = folder.folder / ".drafts" / str(number)
        path.write_bytes(b"x")
        then = path.stat().st_mtime - hours * 3600
        os.utime(path, (then, then))

    assert folder.storage.prune_drafts(timedelta(days=1)) == 2

    assert [path.name for path in folder.folder.glob(".drafts/*")] == ["0"]
    assert len(names(folder.folder)) == 1


def test_a_place_without_drafts_has_no_stale_ones(folder):
    assert folder.storage.prune_drafts(timedelta()) == 0
    assert not folder.folder.exists()


def test_a_deleted_draft_is_not_kept_and_raises(folder):
    """For example by `prune_drafts`, if a job sleeps for longer than drafts are kept."""
    with folder.storage.draft() as draft:
        Path(draft.name).unlink()

        with pytest.raises(StorageError, match="No such file"):
            folder.storage.keep(draft, "0" * 64)


def test_a_file_where_the_folder_should_be_is_named_with_what_to_do(folder, tmp_path):
    (tmp_path / "var").write_text("")

    with pytest.raises(StorageError, match="it must be a folder that this user may write"):
        folder.storage.draft().__enter__()


FULL = """
import hashlib, resource, sys
from workshed.contrib.storage import ContentDamagedError, StorageError
from workshed.contrib.storage import create_storage

storage = create_storage(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    with storage.draft() as draft:
        draft.write(b"x" * 6000)
        storage.keep(draft, hashlib.sha256(b"x" * 6000).hexdigest())
except StorageError as err:
    print(err)
"""


def test_a_content_that_does_not_fit_is_not_stored_at_all(folder, python):
    said, _ = python(FULL, folder.url).communicate(timeout=60)

    assert "File too large" in said
    assert f"file:{folder.folder} cannot be used (WORKSHED_STORAGE_URL)" in said
    assert [path for path in folder.folder.rglob("*") if path.is_file()] == []


def test_a_relative_folder_is_that_of_the_start(tmp_path, store, monkeypatch):
    """Otherwise a process that changes its folder would not find what it stored."""
    monkeypatch.chdir(tmp_path)
    storage = create_storage("file:contents")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    store(storage, b"hello")

    assert len(names(tmp_path / "contents")) == 1


def test_threads_share_one_storage(folder, store):
    storage = folder.storage
    threads = [threading.Thread(target=store, args=(storage, os.urandom(1000))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(names(folder.folder)) == 20


def test_a_content_that_does_not_match_its_name_is_not_returned(folder, store):
    store(folder.storage, b"hello")
    (path,) = names(folder.folder)
    path.write_bytes(b"HELLO")

    with pytest.raises(ContentDamagedError, match="delete it, and store it again") as error:
        folder.storage.open(path.name).__enter__()

    assert error.value.found == hashlib.sha256(b"HELLO").hexdigest()
