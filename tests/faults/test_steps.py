"""Long jobs in steps on workers that are killed: each block has its effect once."""

import contextlib
import functools

import pytest
from dramatiq import Message

from tests.faults.every import Every
from tests.faults.experiment import Remedy, Result, experiment
from workshed import db
from workshed.jobs.dead import dead_jobs

BLOCKS = 40
ACTORS = """
import dramatiq

from workshed import broker
from workshed.jobs import step


def write(progress, job, blocks):
    while (number := (progress.cursor or 0) + 1) <= blocks:
        with progress.transaction() as conn:
            conn.execute("INSERT INTO blocks VALUES (%s, %s, pg_sleep(0.02)::text)", (job, number))
            progress.cursor = number


@dramatiq.actor(broker=broker, queue_name="low", min_backoff=1, max_backoff=1)
def long_job(job, blocks):
    step("write", write, job, blocks)
"""


@pytest.fixture
def start_one(start_worker, broker, tmp_path):
    (tmp_path / "longjobs.py").write_text(ACTORS)
    with db.transaction() as conn:
        conn.execute("CREATE TABLE public.blocks (job integer, number integer, slept text)")
    return functools.partial(start_worker, "longjobs", threads=4)


@experiment(
    "steps",
    number=12,
    fails_by="duplicated",
    needs_rabbitmq=False,
    in_suite=True,
    fault="`kill -9` of one of two worker masters every second, once the other is up",
    load="200 jobs of 40 blocks each",
    remedy=Remedy(
        "workshed/jobs/steps.py",
        "return next(iter(cur.execute(query, (job.message_id, name, owner))))",
        "return SavedStep(None, "
        "next(iter(cur.execute(query, (job.message_id, name, owner)))).done)",
    ),
)
def test_each_block_has_its_effect_once(
    start_one, kill_a_worker, connect, broker, judged, scale, eventually
):
    count = scale(200)
    conn = connect(autocommit=True)

    def one(query):
        return conn.execute(query).fetchone()[0]

    def count_completed():
        return one("SELECT count(*) FROM workshed.steps WHERE done")

    def given_up():
        """Count the jobs that Workshed gave up, because they may have killed their workers."""
        return one("SELECT count(*) FROM workshed.dead")

    with Every(1, kill_a_worker):
        for number in range(count):
            broker.enqueue(Message("low", "long_job", (number, BLOCKS), {}, {}))
        judged.all_sent()
        with contextlib.suppress(AssertionError):  # what is missing is counted
            ended = lambda: count_completed() + given_up() == count and kill_a_worker.times > 0  # noqa: E731
            eventually(ended, within_s=240)
    with contextlib.suppress(AssertionError):
        for (message_id,) in conn.execute("SELECT message_id FROM workshed.dead").fetchall():
            dead_jobs.retry_job(conn, message_id)
        eventually(lambda: count_completed() == count, within_s=240)

    distinct = one("SELECT count(DISTINCT (job, number)) FROM blocks")
    judged(
        Result(
            lost=count * BLOCKS - distinct,
            duplicated=one("SELECT count(*) FROM blocks") - distinct,
            stuck=count - count_completed(),
            notes={"jobs": count},
        )
    )
