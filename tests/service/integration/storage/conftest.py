"""Storages for contents: a folder, and a bucket of a local S3 server."""

import contextlib
import hashlib
import http.client
import http.server
import os
import re
import secrets
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.loopback import Loopback
from workshed.contrib.storage import Storage, create_storage
from workshed.contrib.storage.timeouts import StorageTimeouts
from workshed.settings import settings

KEY, SECRET = "KEYCANARY", "SECRETCANARY"
REGION = "eu-west-1"
PATIENT = StorageTimeouts(answer=timedelta(minutes=2))
"""Timeouts for a server on a busy machine."""


# S3


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(monkeypatch):
    """Use no credentials of this machine, and do not query the metadata service for any."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture(scope="session")
def s3_server():
    """The address of an S3 server that keeps everything in this process's memory."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    server._server.server_close()


@dataclass
class Bucket:
    """A bucket as seen by a client other than ours."""

    client: Any
    name: str
    endpoint: str

    @property
    def url(self):
        """Return the `WORKSHED_STORAGE_URL` of the bucket."""
        options = f"region={REGION}&endpoint={self.endpoint}"
        return f"s3://{KEY}:{SECRET}@{self.name}/contents?{options}"

    def objects(self):
        """Return the visible keys and their bytes."""
        listed = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return {
            one["Key"]: self.client.get_object(Bucket=self.name, Key=one["Key"])["Body"].read()
            for one in listed
        }

    def put(self, key, content):
        self.client.put_object(Bucket=self.name, Key=key, Body=content)


@pytest.fixture
def bucket(s3_server):
    """A bucket for this test."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_server,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    found = Bucket(client, f"test-{secrets.token_hex(6)}", s3_server)
    where = {"LocationConstraint": REGION}
    client.create_bucket(Bucket=found.name, CreateBucketConfiguration=where)
    yield found
    client.close()


@pytest.fixture
def silent():
    """The address of a server that accepts every connection and never answers."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(64)
        yield f"127.0.0.1:{sock.getsockname()[1]}"


class Talkative(Loopback):
    """An S3 server that refuses requests and quotes them; `requests` has their headers."""

    def __init__(self, code, status=403, says=""):
        self.requests = []
        talkative = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                asked = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                talkative.requests.append(self.headers)
                quoted = escape(f"{says} {self.headers} {asked}")
                said = f"<Code>{code}</Code><Message>{quoted}</Message>"
                body = f"<Error>{said}</Error>"
                if status == 200:
                    key = re.search("<Key>.*</Key>", asked)[0]
                    body = f"<DeleteResult><Error>{key}{said}</Error></DeleteResult>"
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

        super().__init__(Handler)


class Stumbling(Talkative):
    """Answers 503 twice, and then forwards requests to another server."""

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


@pytest.fixture
def talkative():
    """`talkative("AccessDenied", 403)`: an S3 server that refuses with this error."""
    with contextlib.ExitStack() as running:
        yield lambda *words: running.enter_context(Talkative(*words))


@pytest.fixture
def stumbling(s3_server):
    """A stumbling S3 server in front of the one of the other tests."""
    with Stumbling(s3_server) as server:
        yield server


# Both


@dataclass
class Place:
    """A storage under test, and its contents as seen from outside."""

    url: str
    bucket: Bucket | None
    folder: Path

    @property
    def storage(self) -> Storage:
        return create_storage(self.url, PATIENT)

    def at(self, name):
        """Return another storage inside this one."""
        if self.bucket is None:
            return Place(f"{self.url}/{name}", None, self.folder / name)
        return Place(self.url.replace("/contents", f"/{name}"), self.bucket, self.folder)

    def visible(self):
        """Return the stored paths and their bytes."""
        if self.bucket is None:
            files = [path for path in self.folder.rglob("*") if path.is_file()]
            return {
                str(path.relative_to(self.folder)): path.read_bytes()
                for path in files
                if path.parent.name != ".drafts"
            }
        prefix = self.url.partition("?")[0].rpartition("/")[2] + "/"
        return {
            key.removeprefix(prefix): content
            for key, content in self.bucket.objects().items()
            if key.startswith(prefix)
        }

    def put(self, sha256, content):
        """Store bytes under a name directly."""
        at = f"{sha256[:2]}/{sha256[2:4]}/{sha256}"
        if self.bucket is None:
            (self.folder / at).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / at).write_bytes(content)
        else:
            self.bucket.put(f"contents/{at}", content)


@pytest.fixture
def folder(tmp_path):
    """A storage in a folder that does not exist yet."""
    return Place(f"file:{tmp_path}/var/contents", None, tmp_path / "var" / "contents")


@pytest.fixture
def in_s3(bucket, tmp_path):
    """A storage in a bucket."""
    return Place(bucket.url, bucket, tmp_path)


@pytest.fixture(params=["folder", "in_s3"])
def kept(request):
    """Each kind of storage."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def configured(folder, monkeypatch):
    """Let `storage()` lead to a folder."""
    monkeypatch.setenv("WORKSHED_STORAGE_URL", folder.url)
    settings.cache_clear()
    return folder


def named(content):
    """Return the name of a content."""
    return hashlib.sha256(content).hexdigest()


def keep(storage, content):
    """Store a content and return its name."""
    with storage.draft() as draft:
        draft.write(content)
        storage.keep(draft, named(content))
    return named(content)


@pytest.fixture
def store():
    """`store(storage, b"…")`: store a content and return its name."""
    return keep


@pytest.fixture
def python():
    """`python(code, *words)`: run code in a separate process, and return that process."""
    with contextlib.ExitStack() as running:

        def start(code, *words, **options):
            words = [sys.executable, "-c", code, *map(str, words)]
            child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **options)
            running.enter_context(child)
            running.callback(child.kill)
            return child

        yield start
