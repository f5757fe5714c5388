"""A source that misbehaves at random, while workers that sync it are killed."""

import contextlib
import functools
import random

import pytest

from actors import start_syncs, sync_critical_data, sync_record
from shop import sync
from shop.demo.faulty_api import FaultyApi
from tests.faults.every import Every
from tests.faults.experiment import Remedy, Result, experiment
from workshed import db
from workshed.settings import settings

MORE = 2
"""Additional requests for each record."""
BADLY = 0.1
"""The share of requests that go wrong."""
WAYS = ("429:1", "500", "503:1", "reset", "hang-up", "cut", "cut-json", "html", "wrong-type",
        "short", "fewer", "nothing", "first-again", "other-id", "408")  # fmt: skip
WAITING = "SELECT count(*) FROM workshed.schedule WHERE actor LIKE 'sync%'"
HURRY = """
    UPDATE workshed.schedule SET due_at = workshed.now()
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM workshed.schedule
            WHERE due_at > workshed.now() AND claimed_by IS NULL
              FOR UPDATE SKIP LOCKED));
    UPDATE shop.sync_sources
       SET circuit_opened_at = workshed.now(), circuit_open_until = workshed.now()
     WHERE ctid = ANY (ARRAY(
           SELECT ctid FROM shop.sync_sources
            WHERE circuit_open_until > workshed.now()
              FOR UPDATE SKIP LOCKED))
"""
"""Ends all waits; their lengths are tested elsewhere. It waits for no lock of a job."""


@pytest.fixture
def start_one(start_worker):
    return functools.partial(start_worker, "actors", threads=4)


@pytest.fixture
def source(broker, monkeypatch):
    """A misbehaving source; request it before the workers start, to set their environment."""
    with FaultyApi(page=100) as api:
        monkeypatch.setenv("SHOP_SYNC_ORIGINS", api.origin)
        monkeypatch.setenv("SHOP_SYNC_TIMEOUT", "5")
        settings.cache_clear()
        with db.transaction() as conn:
            sync.add(conn, "crm", api.origin)
        yield api


class Mirror:
    """The records of the source, and their copies here."""

    def __init__(self, api, conn):
        self._api = api
        self._conn = conn
        self.gone = set()

    def rows(self, query):
        return self._conn.execute(query).fetchall()

    def there(self):
        return {name: record["version"] for name, record in self._api.records.items()}

    def kept(self):
        query = """
            SELECT external_id, version FROM shop.sync_records
             WHERE deleted_at IS NULL AND version IS NOT NULL
        """
        return dict(self.rows(query))

    def is_done(self):
        reading = "SELECT count(*) FROM shop.sync_sources WHERE listing_since IS NOT NULL"
        return self.rows(reading) == self.rows(WAITING) == [(0,)] and self.kept() == self.there()

    def left(self):
        """Count unfinished jobs, each of which holds its key until it ends."""
        ((locks,),) = self.rows("SELECT count(*) FROM workshed.unique_locks")
        ((waiting,),) = self.rows(WAITING)
        return locks + waiting

    def change(self, chance, version):
        """Change a third of the records, delete a tenth, and add as many."""
        names = sorted(self._api.records)
        for name in chance.sample(names, len(names) // 3):
            self._api.put(name, version, associations=[("owner", chance.choice(names))])
        for number, name in enumerate(chance.sample(names, len(names) // 10)):
            del self._api.records[name]
            self.gone.add(name)
            self._api.put(f"n{version}-{number}", version)

    def result(self, **notes):
        log = self.rows("SELECT external_id, version, change FROM shop.sync_log")
        deleted = [name for name, _, change in log if change == "deleted"]
        written = [(name, version) for name, version, change in log if change != "deleted"]
        again = sum(len(lines) - len(set(lines)) for lines in (deleted, written))
        return Result(
            lost=len(self.there().items() - self.kept().items()),
            ghost=len(self.kept().keys() - self.there().keys()),
            duplicated=again + len(set(deleted) - self.gone),
            stuck=self.left(),
            notes=notes,
        )


@pytest.fixture
def mirror(source, connect):
    return Mirror(source, connect(autocommit=True))


def hurry():
    with db.connect() as conn:
        conn.execute(HURRY)


def restart_sync():
    """Start a run as the calendar does, because ten failed requests may fail a run."""
    start_syncs.fn()


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@experiment(
    "sync",
    number=19,
    fails_by="duplicated",
    needs_rabbitmq=False,
    in_suite=True,
    fault="one request in ten fails, in one of 15 ways at random; each record is requested twice "
    "more; `kill -9` of one of two worker masters every second, once the other is up",
    load="2 000 records in three versions, a tenth of which are gone each time",
    remedy=Remedy(
        "shop/sync/records.py",
        'return "updated" if stored.version < version else None',
        'return "updated"',
    ),
)
def test_each_change_is_written_and_logged_once(
    source, mirror, kill_a_worker, judged, seed, scale, eventually
):
    chance = random.Random(seed)  # noqa: S311 -- repeatable
    records = scale(2_000, by=25)
    for number in range(records):
        source.put(f"r{number:04}")

    with Every(0.5, hurry), Every(2, restart_sync), Every(1, kill_a_worker):
        for version in (1, 2, 3):
            if version > 1:
                mirror.change(chance, version)
            source.choose_fault = lambda: chance.choice(WAYS) if chance.random() < BADLY else None
            sync_critical_data.send("crm")
            for name in sorted(source.records) * MORE:
                sync_record.send("crm", name)
            judged.all_sent()
            with contextlib.suppress(AssertionError):  # what is missing is counted
                eventually(mirror.is_done, within_s=180)
            source.choose_fault = lambda: None
        with contextlib.suppress(AssertionError):
            eventually(lambda: kill_a_worker.times > 0)
    with contextlib.suppress(AssertionError), Every(0.5, hurry):
        eventually(lambda: mirror.is_done() and mirror.left() == 0, within_s=60)

    judged(mirror.result(records=records))
