"""Behaviour that all storages share, in a folder as in S3."""

import hashlib
import os
import subprocess
import threading
from datetime import timedelta

import pytest

from workshed.contrib.storage import ContentMissingError, ContentNameError

NO_TIME = timedelta(seconds=-1)

SIZES = (0, 1, 300_000, (11 << 20) + 3)
"""The last one is sent to S3 in parts."""


def named(content):
    return hashlib.sha256(content).hexdigest()


def path(content):
    name = named(content)
    return f"{name[:2]}/{name[2:4]}/{name}"


@pytest.mark.parametrize("size", SIZES)
def test_a_content_is_read_back_as_it_was_stored(kept, store, size):
    content = os.urandom(size)

    name = store(kept.storage, content)

    with kept.storage.open(name) as file:
        assert os.fstat(file.fileno()).st_size == size
        assert file.read() == content
    assert kept.visible() == {path(content): content}


def test_a_draft_is_a_file_that_vanishes_unless_it_is_kept(kept):
    with kept.storage.draft() as draft:
        draft.write(b"hello")
        draft.seek(1)
        assert draft.read(2) == b"el"
        assert os.fstat(draft.fileno()).st_nlink in (0, 1)

    assert kept.visible() == {}
    assert list(kept.folder.rglob("*.*/*")) == []


def test_a_draft_is_not_visible_before_it_is_kept(kept):
    with kept.storage.draft() as draft:
        draft.write(b"hello")
        draft.flush()

        assert kept.visible() == {}


def test_what_a_child_wrote_through_the_descriptor_is_kept(kept):
    with kept.storage.draft() as draft:
        subprocess.run(["printf", "made by a child"], stdout=draft.fileno(), check=True)
        kept.storage.keep(draft, named(b"made by a child"))

    assert kept.visible() == {path(b"made by a child"): b"made by a child"}


def test_what_was_read_before_another_process_wrote_is_forgotten(kept):
    """A file object keeps data that it has read ahead, and would return it again."""
    with kept.storage.draft() as draft:
        draft.write(b"before")
        draft.seek(0)
        draft.read(1)
        os.pwrite(draft.fileno(), b"AFTER.", 0)
        kept.storage.keep(draft, named(b"AFTER."))

    assert kept.visible() == {path(b"AFTER."): b"AFTER."}


def test_a_content_that_is_not_there_is_missing(kept):
    with (
        pytest.raises(ContentMissingError, match=named(b"x")) as missing,
        kept.storage.open(named(b"x")),
    ):
        pass

    assert missing.value.sha256 == named(b"x")


def test_a_content_is_deleted_once_and_deleting_it_again_is_fine(kept, store):
    name = store(kept.storage, b"hello")

    kept.storage.delete(name)
    kept.storage.delete(name)

    assert kept.visible() == {}
    assert store(kept.storage, b"hello") == name
    assert kept.visible() == {path(b"hello"): b"hello"}


def test_all_contents_are_named_and_nothing_else(kept, store):
    assert list(kept.storage.list_contents()) == []
    contents = [b"hello", b"", b"x" * 1000]
    for content in contents:
        store(kept.storage, content)
    if kept.bucket is None:
        (kept.folder / "ab" / "cd").mkdir(parents=True, exist_ok=True)
        (kept.folder / "ab" / "cd" / "notes.txt").write_bytes(b"of another program")
        (kept.folder / "ab" / "cd" / named(b"elsewhere")).write_bytes(b"not where it belongs")
    else:
        kept.bucket.put("contents/ab/cd/notes.txt", b"of another program")
        kept.bucket.put(f"contents/ab/cd/{named(b'elsewhere')}", b"not where it belongs")
        kept.bucket.put(path(b"other"), b"outside the prefix")

    with kept.storage.draft() as draft:
        draft.write(b"a draft")
        found = sorted(kept.storage.list_contents())

    assert found == sorted((named(content), len(content)) for content in contents)


def test_a_content_that_was_never_there_is_deleted(kept):
    kept.storage.delete(named(b"x"))


def test_a_content_that_is_there_is_left_as_it_is(kept, store):
    """The stored bytes are different, which only this test can cause."""
    kept.put(named(b"hello"), b"HELLO")

    store(kept.storage, b"hello")

    assert kept.visible() == {path(b"hello"): b"HELLO"}


def test_an_existing_content_of_another_size_is_replaced(kept, store):
    """Otherwise a full disk or an aborted restore would leave a truncated file for ever."""
    kept.put(named(b"hello"), b"hel")

    store(kept.storage, b"hello")

    assert kept.visible() == {path(b"hello"): b"hello"}


def test_many_that_store_one_content_at_once_store_it(kept, store):
    content, errors = os.urandom(300_000), []
    barrier = threading.Barrier(8)

    def write():
        barrier.wait()
        try:
            store(kept.storage, content)
        except Exception as err:  # noqa: BLE001 -- any error
            errors.append(err)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert kept.visible() == {path(content): content}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../../etc/passwd",
        f"{'../' * 20}etc/passwd",
        "/etc/passwd",
        named(b"x")[:63],
        named(b"x") + "0",
        named(b"x").upper(),
        named(b"x") + "\n",
        "é" * 64,
        "٣" * 64,
        "\0" * 64,
        "." * 64,
    ],
)
def test_a_name_that_is_none_is_refused(kept, name):
    """Otherwise a name could lead out of the storage."""
    with kept.storage.draft() as draft, pytest.raises(ContentNameError):
        kept.storage.keep(draft, name)
    with pytest.raises(ContentNameError), kept.storage.open(name):
        pass
    with pytest.raises(ContentNameError):
        kept.storage.delete(name)


KILLED = """
import os, signal, sys
from workshed.contrib.storage import create_storage

content, name = b"hello" * 1000, sys.argv[1]

def dies_at(line):
    left = line
    def trace(frame, event, _):
        nonlocal left
        if "/workshed/contrib/storage/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    return trace

def write(url, line):
    storage = create_storage(url)
    sys.settrace(dies_at(line))
    with storage.draft() as draft:
        draft.write(content)
        storage.keep(draft, name)
    sys.settrace(None)

create_storage(sys.stdin.readline().strip())  # import it once
for line, url in enumerate(sys.stdin, 1):
    if os.fork() == 0:
        write(url.strip(), line)
        os._exit(0)
    _, status = os.wait()
    print(line, os.WTERMSIG(status), flush=True)
"""


def test_a_process_that_is_killed_at_any_line_leaves_all_of_it_or_nothing(kept, python):
    """There is one storage and one process for each line, until a process survives."""
    content = b"hello" * 1000
    child = python(KILLED, named(content), stdin=subprocess.PIPE)
    child.stdin.write(f"{kept.url}\n")
    outcomes, place = [], None

    for line in range(1, 200):
        place = kept.at(f"line-{line}")
        child.stdin.write(f"{place.url}\n")
        child.stdin.flush()
        killed = child.stdout.readline().split() == [str(line), "9"]
        outcomes.append(place.visible())
        place.storage.prune_drafts(NO_TIME)
        assert place.visible() == outcomes[-1]
        assert list(place.folder.glob(".drafts/*")) == []
        if not killed:
            break

    assert len(outcomes) > 10
    assert outcomes[0] == {}
    assert outcomes[-1] == {path(content): content}
    assert {} in outcomes
    assert all(found in ({}, {path(content): content}) for found in outcomes)
