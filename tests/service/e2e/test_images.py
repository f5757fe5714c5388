"""Images made by real workers, which are killed during that."""

import io
import random
from pathlib import Path

import pytest
from PIL import Image

import actors
from shop import images, people
from workshed import db
from workshed.contrib.storage import storage
from workshed.settings import settings


@pytest.fixture
def upload(broker, environment, tmp_path, monkeypatch):
    """`upload(content)`: store an attachment with its job and return its id."""
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/contents")
    settings.cache_clear()
    with db.transaction() as conn:
        user = people.create(conn, name="Ada", email="ada@example.org")

    def upload(content, filename="photo.jpg"):
        with storage().draft() as draft:
            draft.write(content)
            blob = images.keep(draft)
        with db.transaction() as conn:
            return actors.attach_image(conn, user.id, filename, blob)

    return upload


def photo(seed, side=4000):
    """Return a unique picture that takes some time."""
    noise = random.Random(seed).randbytes(side * 3)  # noqa: S311 -- no secret
    file = io.BytesIO()
    Image.frombytes("RGB", (side, 1), noise).resize((side, side)).save(file, "JPEG", quality=95)
    return file.getvalue()


def decoders(worker):
    """Return the pids of a worker's processes that decode images."""
    found = []
    for parent in worker.children():
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return [pid for pid in found if b"shop.pixels.child" in words(pid)]


def words(pid):
    """Return the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_worker_that_is_killed_makes_and_tells_each_image_once(
    upload, start_worker, count, eventually, scale
):
    wanted = scale(200, by=20)
    for seed in range(wanted):
        upload(photo(seed))
    for share in (4, 2):
        worker = start_worker(threads=4)
        enough = wanted // share - wanted // 5
        eventually(lambda enough=enough: count("shop.image_variants") > enough)
        decoding = eventually(lambda w=worker: decoders(w))
        worker.kill()
        eventually(lambda pids=decoding: not any(map(words, pids)))

    start_worker(threads=4)

    eventually(lambda: count("shop.image_variants") == wanted, within_s=120)
    eventually(
        lambda: (
            count("workshed_notifications.notifications WHERE event = 'image_processed'") == wanted
        )
    )
    assert count("workshed_notifications.notifications") == wanted
    assert count("workshed.dead") == 0


def test_an_image_that_takes_all_memory_ends_no_worker(
    upload, start_worker, count, eventually, monkeypatch
):
    monkeypatch.setenv("SHOP_IMAGE_MEMORY_BYTES", str(256 << 20))
    file = io.BytesIO()
    Image.new("RGBA", (6300, 6300), (0, 0, 0, 9)).save(file, "WEBP", lossless=True, method=0)
    worker = start_worker(threads=4)

    upload(file.getvalue(), "large.webp")
    for seed in range(4):
        upload(photo(seed))

    eventually(lambda: count("shop.image_variants") == 4)
    eventually(lambda: count("shop.attachments WHERE refusal IS NOT NULL") == 1)
    assert worker.process.poll() is None
    assert "Traceback" not in worker.text()
