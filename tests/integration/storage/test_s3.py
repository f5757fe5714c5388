"""Contents in S3: sent and received whole, soon given up, and no secret in any error."""

import contextlib
import hashlib
import http.client
import http.server
import os
import signal
import subprocess
import threading
import time
import traceback
from datetime import timedelta

import pytest

from workshed.storage import (
    ContentDamagedError,
    StorageError,
    place,
)
from workshed.storage.patience import USUAL, Patience

NOBODY_LISTENS = "127.0.0.1:9"
NAME = hashlib.sha256(b"hello").hexdigest()
CANARY = "s3cr3t/canary+x"
QUOTED = "s3cr3t%2Fcanary%2Bx"


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(monkeypatch):
    """And no question to the network who this machine is."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://{NOBODY_LISTENS}")


def attempts(storage, store):
    """Everything that can be asked of a storage."""

    def read():
        with storage.open(NAME) as file:
            file.read()

    return [lambda: store(storage, b"hello"), read, lambda: storage.delete(NAME)]


def errors(storage, store):
    """What each of them raises, as a traceback has it."""
    found = []
    for attempt in attempts(storage, store):
        with pytest.raises(StorageError) as error:
            attempt()
        found.append("".join(traceback.format_exception(error.value)))
    return found


# Sending and receiving


def test_a_large_content_is_sent_in_parts(in_s3, store):
    name = store(in_s3.storage, os.urandom(12 << 20))

    key = f"contents/{name[:2]}/{name[2:4]}/{name}"
    tag = in_s3.bucket.client.head_object(Bucket=in_s3.bucket.name, Key=key)["ETag"]
    assert tag.strip('"').endswith("-3")


CUT = """
import hashlib, io, os, signal, sys
from workshed.storage import place

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
place(sys.argv[1]).keep(Dying(content), hashlib.sha256(content).hexdigest())
"""


def test_a_process_that_is_killed_between_two_parts_leaves_nothing_visible(in_s3, python):
    child = python(CUT, in_s3.url, stdin=subprocess.PIPE)
    assert child.stdout.readline() == "dies\n"
    child.stdin.write("\n")
    child.stdin.close()

    assert child.wait(60) == -signal.SIGKILL
    assert in_s3.visible() == {}


class UnreadableError(Exception):
    """Of the disk that holds a draft."""


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


def test_what_cannot_be_read_to_its_end_is_not_there_at_all(in_s3):
    with pytest.raises((UnreadableError, OSError, StorageError)):
        in_s3.storage.keep(Unreadable(), NAME)

    assert in_s3.visible() == {}


def test_a_content_that_is_there_is_not_sent_again(in_s3, store):
    client, name = in_s3.bucket.client, in_s3.bucket.name
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    store(in_s3.storage, b"hello")
    store(in_s3.storage, b"hello")

    assert len(client.list_object_versions(Bucket=name)["Versions"]) == 1


def test_a_content_that_is_not_what_it_is_named_is_given_to_nobody(in_s3):
    in_s3.put(NAME, b"HELLO")

    with pytest.raises(ContentDamagedError, match="delete it, and store it again") as error:
        in_s3.storage.open(NAME).__enter__()

    assert error.value.found == hashlib.sha256(b"HELLO").hexdigest()


LARGE = """
import resource, sys
from workshed.storage import place

storage, small, large = place(sys.argv[1]), *sys.argv[2:]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

with storage.open(small):
    pass
with storage.draft() as draft, storage.open(small) as file:
    draft.write(file.read())
    storage.keep(draft, small)
before = peak()
with storage.open(large) as file:
    received = peak()
    storage.delete(large)
    storage.keep(file, large)
print(received - before, peak() - received)
"""


def test_a_large_content_does_not_fill_the_memory(in_s3, store, python):
    small, large = (
        store(in_s3.storage, os.urandom(1000)),
        store(in_s3.storage, os.urandom(90 << 20)),
    )

    said, _ = python(LARGE, in_s3.url, small, large).communicate(timeout=120)

    receiving_mb, sending_mb = map(int, said.split())
    assert receiving_mb < 40
    assert sending_mb < 50


def test_contents_lie_where_the_bucket_begins_without_a_prefix(bucket, store):
    name = store(place(bucket.url.replace("/contents", "")), b"hello")

    assert list(bucket.objects()) == [f"{name[:2]}/{name[2:4]}/{name}"]


# Giving up


SHORT = Patience(retries=timedelta(seconds=1))


def at(address, login=f"key:{QUOTED}@", patience=SHORT):
    return place(f"s3://{login}pictures?region=eu-west-1&endpoint=http://{address}", patience)


@pytest.mark.parametrize("away", ["nobody", "silent"])
def test_an_s3_that_is_away_is_soon_given_up(silent, store, away):
    """By default its client tries for three minutes, and waits 30 s each time."""
    address = NOBODY_LISTENS if away == "nobody" else silent
    started = time.monotonic()

    with pytest.raises(StorageError) as error:
        store(at(address, patience=USUAL), b"hello")

    assert time.monotonic() - started < 30
    assert str(error.value).startswith(f"s3://pictures at http://{address} cannot be used")
    assert CANARY not in str(error.value)


def test_an_s3_that_stumbles_is_asked_again(in_s3, store):
    """A server that is restarted refuses connections for a moment, and answers 503."""
    with Stumbling(in_s3.bucket.endpoint) as stumbling:
        url = in_s3.url.replace(in_s3.bucket.endpoint, f"http://{stumbling.address}")
        store(place(url), b"hello")

    assert stumbling.refused == 2
    assert in_s3.visible() != {}


# What it says


class Talkative:
    """An S3 that refuses, and quotes all it was told; `told` has it."""

    def __init__(self, code, status=403):
        self.told = []
        talkative = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                talkative.told.append(self.headers)
                body = (
                    f"<Error><Code>{code}</Code><Message>{CANARY} {self.headers}</Message></Error>"
                )
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body.encode())

            def __getattr__(self, name):
                if name.startswith("do_"):
                    return self.answer
                raise AttributeError(name)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class Stumbling(Talkative):
    """Answers 503 twice, and then with what another server says."""

    def __init__(self, endpoint):
        super().__init__("SlowDown", 503)
        self.refused = 0
        stumbling, host = self, endpoint.removeprefix("http://")

        class Handler(self._server.RequestHandlerClass):
            def answer(self):
                if stumbling.refused < 2:
                    stumbling.refused += 1
                    super().answer()
                else:
                    self.pass_on()

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                other = http.client.HTTPConnection(host)
                with contextlib.closing(other):
                    other.request(self.command, self.path, body, dict(self.headers))
                    reply = other.getresponse()
                    content = reply.read()
                self.send_response(reply.status)
                self.send_header("ETag", reply.headers.get("ETag", ""))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server.RequestHandlerClass = Handler


@pytest.mark.parametrize(
    ("code", "status"),
    [("InvalidAccessKeyId", 403), ("SignatureDoesNotMatch", 403), ("Teapot", 418), ("Bad", 400)],
)
def test_no_secret_is_in_what_is_raised(store, code, status):
    """Logs, the dead table and Sentry keep it."""
    with Talkative(code, status) as s3:
        found = errors(at(s3.address), store)

    assert s3.told
    for said in found:
        assert "s3://pictures at http://127.0.0.1" in said
        assert CANARY not in said
        assert QUOTED not in said
        assert "Signature=" not in said
        assert "Credential=" not in said


def test_a_refused_login_says_what_to_do(store):
    with Talkative("InvalidAccessKeyId") as s3:
        found = errors(at(s3.address), store)

    assert all("refuses the credentials" in said for said in found)


def test_a_missing_bucket_is_no_missing_content(s3_server, store):
    """A job whose image is gone gives up for good; a bucket is missing by mistake."""
    found = errors(place(f"s3://key:{QUOTED}@nowhere?region=eu-west-1&endpoint={s3_server}"), store)

    assert all("there is no such bucket" in said for said in found)


def test_without_credentials_it_says_where_they_are_looked_for(store, s3_server):
    found = errors(at(s3_server.removeprefix("http://"), login=""), store)

    assert all("AWS_ACCESS_KEY_ID" in said for said in found)


# What it takes from AWS_*


def test_credentials_and_region_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEYOFENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKENOFENV")
    monkeypatch.setenv("AWS_REGION", "eu-south-7")

    with Talkative("x") as s3, contextlib.suppress(StorageError):
        place(f"s3://pictures?endpoint=http://{s3.address}").delete(NAME)

    [told, *_] = s3.told
    assert "Credential=KEYOFENV/" in told["Authorization"]
    assert "/eu-south-7/s3/" in told["Authorization"]
    assert told["x-amz-security-token"] == "TOKENOFENV"


def test_the_credentials_of_the_url_stand_without_those_of_the_environment(monkeypatch):
    """With the session token of another key every request is refused."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEYOFENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKENOFENV")
    monkeypatch.setenv("AWS_REGION", "eu-south-7")

    with Talkative("x") as s3, contextlib.suppress(StorageError):
        at(s3.address).delete(NAME)

    [told, *_] = s3.told
    assert "Credential=key/" in told["Authorization"]
    assert "/eu-west-1/s3/" in told["Authorization"]
    assert told["x-amz-security-token"] is None


def test_nothing_is_sent_in_clear_unless_the_url_says_http(monkeypatch, store):
    with Talkative("x") as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3.address}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        errors(place(f"s3://key:{QUOTED}@pictures?region=eu-west-1"), store)

    assert s3.told == []


# Processes


def test_without_the_extra_it_says_how_to_install_it(python):
    code = """
import sys
sys.modules["obstore"] = None
from workshed.errors import SettingsError
from workshed.storage import place
try:
    place("s3://pictures")
except SettingsError as err:
    print(err)
"""
    said, _ = python(code).communicate(timeout=60)

    assert "pip install 'workshed[s3]'" in said


FORKED = """
import os, signal, sys
from workshed.storage import StorageError, place

storage = place(sys.argv[1])
with storage.draft() as draft:
    storage.keep(draft, sys.argv[2])
if os.fork() == 0:
    signal.alarm(20)
    try:
        place(sys.argv[1]).delete(sys.argv[2])
    except StorageError as err:
        print(err, flush=True)
    os._exit(0)
_, status = os.wait()
print(status)
"""


def test_after_a_fork_the_client_of_the_parent_is_not_used(in_s3, python):
    """It has lost its threads, and would be waited for for ever."""
    said, _ = python(FORKED, in_s3.url, hashlib.sha256(b"").hexdigest()).communicate(timeout=60)

    assert "use S3 in the child only" in said
    assert said.endswith("\n0\n")
