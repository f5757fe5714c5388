"""Batches whose workers are killed."""

import contextlib
import functools
import importlib.util
from pathlib import Path

import pytest

from tests.faults.every import Every
from tests.faults.experiment import Remedy, Result, experiment
from workshed import Batch, Queue, db
from workshed.jobs.batches import progress
from workshed.jobs.dead import dead_jobs

PROGRAM = Path(__file__).parent / "batching.py"
SIZE = 8
"""Jobs in a new batch."""
EVENTS = ("success", "complete", "death")
TABLES = """
    CREATE TABLE public.steps (number integer, place integer);
    CREATE TABLE public.callbacks (number integer, event text, pending integer, succeeded integer);
    CREATE TABLE public.cured ();
"""
PENDING = "SELECT count(*) FROM workshed.batch_jobs WHERE state = 'pending'"
WAITING = "SELECT count(*) FROM workshed.schedule"


@pytest.fixture
def start_one(program, start_worker):
    return functools.partial(start_worker, "batching", threads=8)


@pytest.fixture
def program(broker, tmp_path, connect):
    """The actors of the load, imported here and by the workers."""
    connect(autocommit=True).execute(TABLES)
    (tmp_path / "batching.py").write_text(PROGRAM.read_text())
    known = broker.actors, broker.queues, broker._signatures
    before = [dict(one) for one in known]
    broker.add_queue(Queue("parts"))
    spec = importlib.util.spec_from_file_location("batching", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for kept, now in zip(before, known, strict=True):
        now.clear()
        now.update(kept)
    del broker.declared_queues["parts"]


@experiment(
    "batches",
    number=12,
    fails_by="lost",
    needs_rabbitmq=False,
    in_suite=True,
    fault="`kill -9` of one of two worker masters every second, once the other is up",
    load="1 500 batches of 8 jobs; in every third batch a job dies at first, in every fourth a "
    "job adds another",
    remedy=Remedy(
        "workshed/sql/0001_baseline.sql",
        "            FOR SHARE SKIP LOCKED;",
        "            ;",
    ),
)
def test_each_batch_ends_once(program, kill_a_worker, connect, judged, scale, eventually):
    """It reports neither too early nor never, and the same holds after a dead job was retried."""
    count = scale(1_500, by=30)
    conn = connect(autocommit=True)
    made = []

    def one(query, *values):
        return conn.execute(query, values).fetchone()[0]

    def idle():
        return one(PENDING) == one(WAITING) == 0

    def make(number):
        events = {f"on_{name}": program.tell.message(number, name) for name in EVENTS}
        batch = Batch(**events)
        with db.transaction() as conn, batch.adding(conn):
            batch.add(conn, *(program.step.message(number, place) for place in range(SIZE)))
        made.append(batch.id)

    with Every(1, kill_a_worker):
        for number in range(count):
            make(number)
        judged.all_sent()
        with contextlib.suppress(AssertionError):  # what is missing is counted
            eventually(lambda: kill_a_worker.times > 1 and idle(), within_s=180)
        conn.execute("INSERT INTO cured DEFAULT VALUES")
        for batch in made:
            for message_id in progress.list_dead_ids(conn, batch):
                assert dead_jobs.retry_job(conn, message_id)
        with contextlib.suppress(AssertionError):
            eventually(idle, within_s=60)

    wanted = {(number, name) for number in range(count) for name in ("success", "complete")}
    wanted |= {(number, "death") for number in range(0, count, 3)}
    with contextlib.suppress(AssertionError):
        eventually(
            lambda: idle() and one("SELECT count(*) FROM callbacks") >= len(wanted), within_s=60
        )

    callbacks = [tuple(row) for row in conn.execute("SELECT number, event FROM callbacks")]
    # In a batch with retried dead jobs, jobs may be pending again when its completion is reported.
    early = """
        SELECT count(*) FROM callbacks
         WHERE (event = 'complete' AND mod(number, 3) <> 0 AND pending > 0)
            OR (event = 'success'
                AND (pending > 0 OR succeeded <> %s + (mod(number, 4) = 0)::integer))
    """
    jobs = count * SIZE + len(range(0, count, 4))
    steps = one("SELECT count(*) FROM steps")
    judged(
        Result(
            lost=len(wanted - set(callbacks)) + max(0, jobs - steps),
            ghost=len(set(callbacks) - wanted) + one(early, SIZE),
            duplicated=len(callbacks) - len(set(callbacks)) + max(0, steps - jobs),
            stuck=one(PENDING) + one(WAITING),
            notes={"batches": count},
        )
    )
