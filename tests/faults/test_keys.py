"""Unique jobs under senders that crash and roll back."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.every import Every
from tests.faults.experiment import Remedy, Result, experiment
from workshed import Queue

PROGRAM = (Path(__file__).parent / "keys.py").read_text()
PROCESSES, THREADS = 5, 10
KILLS = 8
TABLES = """
    CREATE TABLE public.runs (key integer PRIMARY KEY, message_id text);
    CREATE TABLE public.together (key integer, message_id text);
    CREATE TABLE public.done (key integer, message_id text);
    CREATE TABLE public.sends (message_id text, fate text);
"""


@pytest.fixture
def rows(connect):
    conn = connect(autocommit=True)
    conn.execute(TABLES)
    return lambda query: conn.execute(query).fetchall()


@pytest.fixture
def senders(environment, tmp_path):
    """`with senders(100):` processes send this many keys; one is killed now and then."""
    (tmp_path / "keys.py").write_text(PROGRAM)
    settings = {**os.environ, **environment}
    running, log = [], tmp_path / "senders.log"

    def start(first, keys):
        words = [sys.executable, "keys.py", str(first), str(keys), str(THREADS)]
        with log.open("ab") as err:
            running.append(subprocess.Popen(words, cwd=tmp_path, env=settings, stderr=err))

    @contextlib.contextmanager
    def sending(keys):
        for _ in range(PROCESSES):
            start(0, keys)

        def kill_one():
            victim = next((one for one in running if one.poll() is None), None)
            if victim is not None and len(running) < PROCESSES + KILLS:
                victim.kill()
                start(keys // 2, keys)

        with Every(1, kill_one):
            yield
            for one in running:  # the list grows meanwhile
                assert one.wait(timeout=240) in (0, -signal.SIGKILL), log.read_text()

    yield sending
    for one in running:
        one.kill()
        one.wait()


@pytest.mark.exhaustive
@experiment(
    "unique-senders",
    number=15,
    fails_by="duplicated",
    needs_rabbitmq=False,
    in_suite=True,
    fault="50 senders in 5 processes, one of which gets `kill -9` every second; one send in five "
    "is rolled back",
    load="1 000 keys, each sent by all 50 senders; each job fails one time in four",
    remedy=Remedy(
        "workshed/sql/0001_baseline.sql",
        "         WHERE l.expires_at <= workshed.now() OR l.message_id = EXCLUDED.message_id;",
        "         WHERE true;",
    ),
)
def test_one_job_per_key_is_alive(broker, rows, senders, start_worker, judged, scale, eventually):
    """There are never two, never none if one was sent, and no key is left."""
    broker.add_queue(Queue("parts"))
    left = """
        SELECT (SELECT count(*) FROM workshed.schedule) + (SELECT count(*)
                                                           FROM workshed.unique_locks)
             + (SELECT count(*) FROM workshed.redelivered_starts)
    """
    lost = """
        SELECT count(DISTINCT message_id) FROM sends
         WHERE fate = 'sent' AND message_id NOT IN (SELECT message_id FROM done)
    """
    with senders(scale(1_000, by=25)):
        start_worker("keys", threads=8)
        start_worker("keys", threads=8)
    judged.all_sent()
    with contextlib.suppress(AssertionError):  # what is missing is counted
        eventually(lambda: rows(left) == rows(lost) == [(0,)], within_s=120)
    result = Result(
        lost=rows(lost)[0][0],
        ghost=rows("""
            SELECT count(*) FROM done
             WHERE message_id IN (SELECT message_id FROM sends WHERE fate = 'rolled back')
        """)[0][0],
        duplicated=rows("SELECT count(*) FROM together")[0][0],
        stuck=rows(left)[0][0],
        notes={
            "sends": rows("SELECT count(*) FROM sends")[0][0],
        },
    )
    del broker.declared_queues["parts"]
    judged(result)
