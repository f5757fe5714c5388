"""Jobs whose record is not visible when they first run.

They are sent in a transaction that may not be committed yet, and read from a replica with a lag.
"""

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from dramatiq import Message

from tests.faults.conftest import Emptied
from tests.faults.experiment import Remedy, Result, experiment
from tests.faults.standby import standby
from workshed import Queue, db, schedule

PROGRAM = (Path(__file__).parent / "looking.py").read_text()
RECORD_VISIBILITY_GRACE_S = 30
"""Far longer than a transaction and the replica's lag, even on a busy machine."""
LAG_MS = 1_500
SLOWEST_S = 0.5
ROLLED_BACK, DELETED = 0.2, 0.05
SENDERS = 24
TABLES = """
    CREATE TABLE public.people (number integer PRIMARY KEY);
    CREATE TABLE public.greeted (number integer);
"""
DISCARDED = "SELECT message_id FROM workshed.attempts WHERE outcome = 'discarded'"
LEFT = (
    "SELECT (SELECT count(*) FROM workshed.schedule) + (SELECT count(*) "
    "FROM workshed.redelivered_starts)"
)


@pytest.fixture
def replica_url(servers, connect, database_url):
    """The URL of the same database on a replica with a lag."""
    connect(autocommit=True).execute(TABLES)
    with standby(servers.postgres, LAG_MS) as replica:
        ports = servers.postgres.ports["postgres"], replica.ports["postgres"]
        yield database_url.replace(*(f":{port}/" for port in ports))


@pytest.fixture
def rows(broker, connect, replica_url, tmp_path, start_worker):
    conn = connect(autocommit=True)
    (tmp_path / "looking.py").write_text(PROGRAM)
    broker.add_queue(Queue("parts"))
    env = {
        "REPLICA_URL": replica_url,
        "WORKSHED_RECORD_VISIBILITY_GRACE": str(RECORD_VISIBILITY_GRACE_S),
        "WORKSHED_REPLICA_LAG": str(RECORD_VISIBILITY_GRACE_S),
    }
    start_worker("looking", threads=8, env=env)
    yield lambda query: conn.execute(query).fetchall()
    del broker.declared_queues["parts"]


class Senders:
    """The fate of each transaction by number, and the job that was sent in it."""

    def __init__(self, broker, seed):
        self._broker = broker
        self._seed = seed
        self.fates = {}
        self.plain = set()
        self.jobs = {}

    def send(self, number):
        chance = random.Random(f"{self._seed} {number}")  # noqa: S311 -- repeatable
        message = Message("parts", "greet", (number,), {}, {})
        fate = "rolled back" if chance.random() < ROLLED_BACK else "kept"
        with db.connect() as conn:
            with conn.transaction(force_rollback=fate == "rolled back"):
                conn.execute("INSERT INTO people VALUES (%s)", (number,))
                if chance.random() < 0.5:
                    self._broker.enqueue(message)
                    self.plain.add(number)
                else:
                    schedule.send(conn, message)
                time.sleep(chance.uniform(0, SLOWEST_S))
            if fate == "kept" and chance.random() < DELETED:
                fate = "deleted"
                conn.execute("DELETE FROM people WHERE number = %s", (number,))
        self.fates[number] = fate
        self.jobs[message.message_id] = number

    def all(self, *fates):
        return {number for number, fate in self.fates.items() if fate in fates}


@pytest.mark.timeout(900)
@experiment(
    "discard-race",
    number=23,
    fails_by="lost",
    needs_rabbitmq=False,
    fault="the commit follows up to 0.5 s after the send, and jobs read from a replica that is "
    "another 1.5 s behind; one in five is rolled back; one record in twenty is deleted at once",
    load="10 000 jobs that are discarded if their record is missing, half of them sent directly",
    remedy=Remedy(
        "workshed/middleware/retrying/policy.py",
        "    if left <= timedelta():",
        "    if True:",
    ),
)
def test_a_record_that_is_not_visible_yet_discards_no_job(
    broker, rows, rabbitmq, in_threads, judged, quiet, seed, scale
):
    """A job is discarded only if its record was deleted or never committed."""
    count = scale(10_000)
    senders = Senders(broker, seed)

    def left():
        waiting = sum(queue.get("messages", 0) for queue in rabbitmq.queues().values())
        return rows(LEFT)[0][0] + waiting

    in_threads(senders.send, range(count), threads=SENDERS)
    judged.all_sent()
    quiet(
        Emptied(left),
        lambda: (left(), rows(DISCARDED)),
        within_s=240,
        still_s=2 * RECORD_VISIBILITY_GRACE_S,
    )

    greeted = Counter(number for (number,) in rows("SELECT number FROM greeted"))
    discarded = {senders.jobs.get(message_id) for (message_id,) in rows(DISCARDED)}
    kept, deleted, never = map(senders.all, ("kept", "deleted", "rolled back"))
    judged(
        Result(
            lost=len(kept - greeted.keys()) + len(deleted - greeted.keys() - discarded),
            ghost=len(never & greeted.keys()),
            duplicated=greeted.total() - len(greeted) + len(greeted.keys() & discarded),
            stuck=left() + len((never & senders.plain) - discarded),
            notes={
                "dead": rows("SELECT count(*) FROM workshed.dead")[0][0],
                "kept": len(kept),
                "deleted": len(deleted),
                "rolled back": len(never),
                "discarded": len(discarded),
                "discarded although the record exists": len(discarded & kept),
            },
        )
    )
    assert discarded <= deleted | (never & senders.plain)
    assert len(kept) + len(deleted) + len(never) == count
