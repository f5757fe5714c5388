"""Contents in S3: complete transfers, short timeouts, and no secrets in errors."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from workshed.contrib.storage import ContentDamagedError, StorageError, create_storage

pytestmark = pytest.mark.one_in(3)  # each test starts its own programs

REFUSING_ADDRESS = "127.0.0.1:9"
NAME = hashlib.sha256(b"hello").hexdigest()
CANARY = "s3cr3tcanary"


# Sending and receiving


def test_a_large_content_is_sent_in_parts(in_s3, store):
    name = store(in_s3.storage, os.urandom(12 << 20))

    key = f"contents/{name[:2]}/{name[2:4]}/{name}"
    tag = in_s3.bucket.client.head_object(Bucket=in_s3.bucket.name, Key=key)["ETag"]
    assert tag.strip('"').endswith("-3")


CUT = """
import hashlib, io, os, signal, sys
from workshed.contrib.storage import create_storage

class Dying(io.BytesIO):
    reads = 0

    def read(self, *args):
        self.reads += 1
        if self.reads == 3:
            print("dies", flush=True)
            sys.stdin.readline()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(*args)

content = os.urandom(12 << 20)
create_storage(sys.argv[1]).keep(Dying(content), hashlib.sha256(content).hexdigest())
"""


def test_a_process_that_is_killed_between_two_parts_leaves_nothing_visible(in_s3, python):
    child = python(CUT, in_s3.url, stdin=subprocess.PIPE)
    assert child.stdout.readline() == "dies\n"
    child.stdin.write("\n")
    child.stdin.close()

    assert child.wait(60) == -signal.SIGKILL
    assert in_s3.visible() == {}


class UnreadableError(Exception):
    """An error of the disk that holds a draft."""


class Unreadable:
    """A draft of 12 MB that cannot be read to its end."""

    at = reads = 0

    def seek(self, offset, whence=os.SEEK_SET):
        self.at = offset + (12 << 20 if whence == os.SEEK_END else 0)
        return self.at

    def tell(self):
        return self.at

    def read(self, size=-1):
        self.reads += 1
        if self.reads == 3:
            raise UnreadableError
        return bytes(size)


def test_a_draft_with_a_read_error_is_not_stored_at_all(in_s3):
    with pytest.raises((UnreadableError, OSError, StorageError)):
        in_s3.storage.keep(Unreadable(), NAME)

    assert in_s3.visible() == {}


def test_a_content_that_is_there_is_not_sent_again(in_s3, store):
    client, name = in_s3.bucket.client, in_s3.bucket.name
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    store(in_s3.storage, b"hello")
    store(in_s3.storage, b"hello")

    assert len(client.list_object_versions(Bucket=name)["Versions"]) == 1


def test_a_content_in_s3_that_does_not_match_its_name_is_not_returned(in_s3):
    in_s3.put(NAME, b"HELLO")

    with pytest.raises(ContentDamagedError, match="delete it, and store it again") as error:
        in_s3.storage.open(NAME).__enter__()

    assert error.value.found == hashlib.sha256(b"HELLO").hexdigest()


LARGE = """
import sys, threading
from datetime import timedelta
from pathlib import Path
from workshed.contrib.storage import create_storage
from workshed.contrib.storage.timeouts import StorageTimeouts

patient = StorageTimeouts(answer=timedelta(minutes=2))
storage, small, large = create_storage(sys.argv[1], patient), *sys.argv[2:]
PAGES_PER_MB = 256

def mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) // PAGES_PER_MB

def more_by(function):
    before, over, most = mb(), threading.Event(), [0]
    def look():
        while not over.wait(0.001):
            most.append(mb())
    watch = threading.Thread(target=look)
    watch.start()
    function()
    over.set()
    watch.join()
    return max(most) - before

with storage.open(small) as file:
    storage.delete(small)
    storage.keep(file, small)
files = []
lent = storage.open(large)
print(more_by(lambda: files.append(lent.__enter__())))
storage.delete(large)
print(more_by(lambda: storage.keep(files[0], large)))
"""


def test_a_large_content_does_not_fill_the_memory(in_s3, store, python):
    small, large = (
        store(in_s3.storage, os.urandom(1000)),
        store(in_s3.storage, os.urandom(90 << 20)),
    )

    said, _ = python(LARGE, in_s3.url, small, large).communicate(timeout=240)

    receiving_mb, sending_mb = map(int, said.split())
    assert receiving_mb < 40
    assert sending_mb < 50


def test_without_a_prefix_contents_are_at_the_top_of_the_bucket(bucket, store):
    name = store(create_storage(bucket.url.replace("/contents", "")), b"hello")

    assert list(bucket.objects()) == [f"{name[:2]}/{name[2:4]}/{name}"]


# Timeouts


@pytest.mark.sample(1)
@pytest.mark.parametrize("away", ["refusing", "silent"])
def test_an_s3_that_is_away_is_soon_given_up(silent, store, away):
    """By default the client retries for three minutes, and waits 30 s each time."""
    address = REFUSING_ADDRESS if away == "refusing" else silent
    started = time.monotonic()

    with pytest.raises(StorageError) as error:
        store(create_storage(f"s3://key:{CANARY}@pictures?endpoint=http://{address}"), b"hello")

    assert time.monotonic() - started < 60
    assert str(error.value).startswith(f"s3://pictures at http://{address} cannot be used")
    assert CANARY not in str(error.value)


@pytest.fixture
def stalling():
    """The address of a server that sends half of each content and then nothing."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\nETag: x\r\n"
    head += b"Last-Modified: Sun, 01 Mar 2026 09:00:00 GMT\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError), contextlib.ExitStack() as open_ones:
                while True:
                    sock = open_ones.enter_context(listener.accept()[0])
                    sock.recv(1 << 16)
                    sock.sendall(head + bytes(2000))

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_s3_that_stops_in_the_middle_is_soon_given_up(stalling):
    storage = create_storage(f"s3://key:{CANARY}@pictures?endpoint=http://{stalling}")
    started = time.monotonic()

    with pytest.raises(StorageError, match="it does not answer in time"):
        storage.open(NAME).__enter__()

    assert time.monotonic() - started < 60


def test_an_s3_that_stumbles_is_asked_again(in_s3, store, stumbling):
    """A restarting server answers 503 for a moment."""
    url = in_s3.url.replace(in_s3.bucket.endpoint, f"http://{stumbling.address}")

    store(create_storage(url), b"hello")

    assert stumbling.refused == 2
    assert in_s3.visible() != {}


# Processes


def test_without_the_extra_it_says_how_to_install_it(python):
    code = """
import sys
sys.modules["obstore"] = None
from workshed.errors import SettingsError
from workshed.contrib.storage import create_storage
try:
    create_storage("s3://pictures")
except SettingsError as err:
    print(err)
"""
    said, _ = python(code).communicate(timeout=120)

    assert "pip install 'workshed[s3]'" in said


FORKED = """
import os, signal, sys
from workshed.contrib.storage import StorageError
from workshed.contrib.storage import create_storage

storage = create_storage(sys.argv[1])
with storage.draft() as draft:
    storage.keep(draft, sys.argv[2])
if os.fork() == 0:
    signal.alarm(60)
    try:
        create_storage(sys.argv[1]).delete(sys.argv[2])
    except StorageError as err:
        print(err, flush=True)
    os._exit(0)
_, status = os.wait()
print(status)
"""


def test_after_a_fork_the_client_of_the_parent_is_not_used(in_s3, python):
    """The client has lost its threads, so waiting for it would never end."""
    said, _ = python(FORKED, in_s3.url, hashlib.sha256(b"").hexdigest()).communicate(timeout=120)

    assert "use S3 in the child only" in said
    assert said.endswith("\n0\n")
