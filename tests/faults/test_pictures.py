"""Uploads that are whole, cut off, damaged or bombs, to workers that are killed."""

import contextlib
import functools
import hashlib
import io
import random
import signal
from collections import Counter

import pytest
from PIL import Image

from actors import attach_image
from shop import images, people
from tests.faults.every import Every
from tests.faults.experiment import Remedy, Result, experiment
from workshed import db
from workshed.contrib.storage import blobs, storage
from workshed.settings import settings

KINDS = ("good", "good", "good", "cut", "cut", "flipped", "flipped", "bomb")
FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
BOMB = (12_000, 12_000)
LEFT = (
    "SELECT (SELECT count(*) FROM workshed.schedule) + (SELECT count(*) "
    "FROM workshed.redelivered_starts)"
)
DEAD = "SELECT count(*) FROM workshed.dead"
ENDED = """
    SELECT a.id, a.refusal, v.sha256
      FROM shop.attachments AS a
      LEFT JOIN shop.image_variants AS v ON v.original = a.sha256
     WHERE a.refusal IS NOT NULL OR v.original IS NOT NULL
"""
NOTIFIED = """
    SELECT data->>'attachment_id' FROM public.notifications
     WHERE event IN ('image_processed', 'image_refused')
"""
LEDGER = """
    CREATE TABLE public.notifications (event text, data jsonb);
    CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.notifications VALUES (NEW.event, NEW.data); RETURN NULL; END';
    CREATE TRIGGER note AFTER INSERT ON workshed_notifications.notifications
        FOR EACH ROW EXECUTE FUNCTION public.note();
"""


class Corpus:
    """Makes pictures of each kind, all different."""

    def __init__(self, seed):
        self._chance = random.Random(seed)  # noqa: S311 -- repeatable

    def make(self, kind):
        """Return the name and the content of a file."""
        name = self._chance.choice(sorted(FORMATS))
        content = self._bomb() if kind == "bomb" else self._picture(name)
        match kind:
            case "bomb":
                name = "PNG"
            case "cut":  # often only its end, which decoders do not miss
                longest = self._chance.choice([9, len(content)])
                content = content[: -self._chance.randrange(1, longest)]
            case "flipped":
                content = bytearray(content)
                for _ in range(self._chance.randint(1, 4)):
                    content[self._chance.randrange(len(content))] ^= 1 << self._chance.randrange(8)
        return f"picture.{FORMATS[name]}", bytes(content)

    def _picture(self, name):
        side = self._chance.randrange(200, 1_200)
        noise = self._chance.randbytes(32 * 24 * 3)
        file = io.BytesIO()
        Image.frombytes("RGB", (32, 24), noise).resize((side, side)).save(file, name)
        return file.getvalue()

    def _bomb(self):
        file = io.BytesIO()
        Image.new("1", BOMB, self._chance.getrandbits(1)).save(file, "PNG")
        return file.getvalue() + self._chance.randbytes(4)


class Watch:
    """Checks every content as soon as it is visible, and knows all worker masters."""

    def __init__(self, folder):
        self._folder = folder
        self._sizes = {}
        self.partial = set()
        self.masters = []

    def ended(self):
        """Count the masters that ended without being killed."""
        codes = [master.process.poll() for master in self.masters]
        return sum(code not in {None, -signal.SIGKILL} for code in codes)

    def look(self):
        for path in self._folder.glob("??/??/*"):
            with contextlib.suppress(FileNotFoundError):
                size = path.stat().st_size
                if self._sizes.get(path) == size:
                    continue
                self._sizes[path] = size
                if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
                    self.partial.add(path.name)


@pytest.fixture
def contents(broker, tmp_path, monkeypatch):
    """The folder of the contents; request it before the workers start, to set their environment."""
    folder = tmp_path / "contents"
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{folder}")
    settings.cache_clear()
    return folder


@pytest.fixture
def watch(contents):
    return Watch(contents)


@pytest.fixture
def start_one(watch, start_worker):
    def start(**words):
        watch.masters.append(start_worker("actors", threads=4, **words))
        return watch.masters[-1]

    return start


@pytest.fixture
def upload(contents):
    """`upload("photo.jpg", content)`: store an attachment with its job and return its id."""

    @functools.cache
    def user():
        with db.transaction() as conn:
            return people.create(conn, name="Ada", email="ada@example.org").id

    def upload(name, content):
        with storage().draft() as draft:
            draft.write(content)
            blob = images.keep(draft)
        with db.transaction() as conn:
            return attach_image(conn, user(), name, blob)

    return upload


def is_shown(sha256):
    """Return whether a content is a complete picture."""
    with storage().open(sha256) as file, Image.open(file) as image:
        image.load()
        return image.width <= 800 and image.height <= 600


@pytest.mark.timeout(1800)
@experiment(
    "pictures",
    number=17,
    fails_by="ghost",
    needs_rabbitmq=False,
    fault="of eight images two are cut off, two have flipped bits, and one is a decompression "
    "bomb; `kill -9` of one of two worker masters every 3 s, once the other is up",
    load="1 000 images, which are viewed all the time",
    remedy=Remedy(
        "workshed/contrib/storage/local.py",
        "                Path(draft.name).replace(path)\n",
        "                draft.seek(0)\n"
        "                with path.open('wb') as out:\n"
        "                    while piece := draft.read(8192):\n"
        "                        out.write(piece)\n"
        "                        os.fsync(out.fileno())\n",
    ),
)
def test_each_picture_is_made_or_refused_once(
    upload, watch, kill_a_worker, connect, judged, quiet, seed, scale
):
    """No content is visible before it is complete."""
    conn = connect(autocommit=True)
    conn.execute(LEDGER)
    corpus, kinds = Corpus(seed), {}

    def ended():
        return {number: (refusal, sha) for number, refusal, sha in conn.execute(ENDED)}

    def left():
        return conn.execute(LEFT).fetchone()[0] + conn.execute(DEAD).fetchone()[0]

    with Every(0.05, watch.look), Every(3, kill_a_worker):
        for turn in range(scale(1_000, by=16)):
            kind = KINDS[turn % len(KINDS)]
            kinds[upload(*corpus.make(kind))] = kind
        judged.all_sent()
        quiet(
            lambda: left() == 0 and len(ended()) == len(kinds) and kill_a_worker.times > 1,
            lambda: (left(), len(ended())),
            within_s=400,
        )
    watch.look()

    came = ended()
    made = {number for number, (_, sha) in came.items() if sha}
    of = {name: {n for n, kind in kinds.items() if kind == name} for name in KINDS}
    notified = Counter(int(number) for (number,) in conn.execute(NOTIFIED))
    judged(
        Result(
            lost=len(of["good"] - made) + len(kinds.keys() - came.keys()),
            ghost=len((of["cut"] | of["bomb"]) & made) + len(watch.partial),
            duplicated=notified.total() - len(notified),
            stuck=left() + blobs.import_existing(only_count=True),
            threads_dead=watch.ended(),
            notes={
                **{name: len(numbers) for name, numbers in of.items()},
                "flipped and made": len(of["flipped"] & made),
            },
        )
    )
    assert all(is_shown(came[number][1]) for number in made)
    assert notified.keys() == kinds.keys()
