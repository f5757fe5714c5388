"""Uploads and their results."""

import contextlib
import functools
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import actors
from shop import images, people
from tests.service.integration.storage.conftest import (
    _no_credentials_of_this_machine,
    bucket,
    s3_server,
)
from workshed import db
from workshed.contrib.storage import storage

__all__ = ["_no_credentials_of_this_machine", "bucket", "s3_server"]

KILLED_AT = Path(__file__).parent.with_name("killed_at.py")


@pytest.fixture
def picture():
    """`picture(1600, 1200, color="red")`: the bytes of a JPEG."""

    def encoded(width=1600, height=1200, color="red"):
        file = io.BytesIO()
        Image.new("RGB", (width, height), color).save(file, "JPEG")
        return file.getvalue()

    return encoded


@pytest.fixture
def stored():
    """`stored(content)`: store a content and return its blob."""

    def keep(content):
        with storage().draft() as draft:
            draft.write(content)
            return images.keep(draft)

    return keep


@pytest.fixture
def user(jobs):
    with db.transaction() as conn:
        return people.create(conn, name="Ada", email="ada@example.org")


@pytest.fixture
def upload(user, stored):
    """`upload(content, "photo.jpg")`: store an attachment, enqueue its job, and return its id."""

    def attach(content, filename="photo.jpg", user_id=None):
        blob = stored(content)
        with db.transaction() as conn:
            return actors.attach_image(conn, user_id or user.id, filename, blob)

    return attach


@pytest.fixture
def replace(stored):
    """`replace(attachment_id, content)`: replace an attachment's content."""

    def put(attachment_id, content, filename="photo.jpg"):
        blob = stored(content)
        with db.transaction() as conn:
            actors.replace_image(conn, attachment_id, filename, blob)

    return put


@pytest.fixture
def variants(jobs):
    """`variants(attachment_id)`: the images made from its current content, as dictionaries."""

    def read(attachment_id):
        query = """
            SELECT to_jsonb(v) FROM shop.image_variants AS v
              JOIN shop.attachments AS a ON a.sha256 = v.original
             WHERE a.id = %s ORDER BY v.box_width, v.box_height
        """
        with db.transaction() as conn:
            return [row for (row,) in conn.execute(query, (attachment_id,))]

    return read


@pytest.fixture
def notifications(jobs):
    """`notifications()`: the notifications to browsers in order, as (event, data)."""

    def read():
        query = """
            SELECT event, data::text FROM workshed_notifications.notifications
             ORDER BY user_id::bigint, number
        """
        with db.transaction() as conn:
            return [(event, json.loads(data)) for event, data in conn.execute(query)]

    return read


@pytest.fixture
def content():
    """`content(sha256)`: the image of that name."""

    def read(sha256):
        with storage().open(sha256) as file, Image.open(file) as image:
            image.load()
            return image

    return read


@pytest.fixture
def killed():
    """`killed(7, "import_users", 1)`: kill it at its seventh line; returns whether it finished."""
    with contextlib.ExitStack() as running:

        @functools.cache  # started only after the test has set its variables
        def forks():
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            return running.enter_context(subprocess.Popen([sys.executable, KILLED_AT], **pipes))

        def run(*words):
            print(json.dumps(words), file=forks().stdin, flush=True)
            code = int(forks().stdout.readline())
            assert code in (0, -signal.SIGKILL)
            return code == 0

        yield run
