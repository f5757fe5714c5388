"""Jobs with a limit, on workers that are killed while they hold its slots."""

import contextlib
from pathlib import Path

import pytest
from dramatiq import Message

from tests.faults.experiment import Remedy, Result, experiment
from workshed import Queue, db

PROGRAM = (Path(__file__).parent / "limited.py").read_text()
AT_A_TIME = 3
HELD = 3
TABLE = """
    CREATE TABLE public.runs (
        id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        number integer NOT NULL,
        pid    integer NOT NULL,
        began  timestamptz NOT NULL,
        ended  timestamptz,
        killed boolean NOT NULL DEFAULT false)
"""
KILLED = "UPDATE runs SET ended = clock_timestamp(), killed = true WHERE ended IS NULL"
TOGETHER = """
    SELECT COALESCE(max(together), 0)
      FROM (SELECT sum(change) OVER (ORDER BY at, change) AS together
              FROM (SELECT began AS at, 1 AS change FROM runs
                    UNION ALL
                    SELECT ended, -1 FROM runs) AS changes) AS counted
"""
LEFT = """
    SELECT (SELECT count(*) FROM workshed.schedule) + (SELECT count(*) FROM workshed.limit_waiters)
         + (SELECT count(*) FROM workshed.limit_slots WHERE expires_at > workshed.now())
         + (SELECT count(*) FROM workshed.redelivered_starts)
"""


@pytest.fixture
def rows(connect):
    conn = connect(autocommit=True)
    conn.execute(TABLE)
    return lambda query: conn.execute(query).fetchall()


@pytest.mark.exhaustive
@experiment(
    "limited-workers",
    number=12,
    fails_by="stuck",
    needs_rabbitmq=False,
    in_suite=True,
    fault=f"`kill -9` of all workers while they hold all slots of a limit, {HELD} times, and once "
    "while slots change hands",
    load="600 jobs, three of which may run at once",
    remedy=Remedy("workshed/transport/relay/relay.py", "        wake_limit_waiters,\n", ""),
)
def test_no_more_run_together_and_none_waits_for_ever(
    broker, rows, tmp_path, start_worker, judged, scale, eventually, quiet
):
    """Without the relay's check, nothing wakes the jobs that wait for slots of killed workers."""
    broker.add_queue(Queue("parts"))
    (tmp_path / "limited.py").write_text(PROGRAM)
    hold = tmp_path / "hold"
    count = scale(600)

    def count_ended():
        return rows(
            "SELECT count(DISTINCT number) FROM runs WHERE ended IS NOT NULL AND NOT killed"
        )

    def count_running():
        return len(rows("SELECT FROM runs WHERE ended IS NULL"))

    def killed_once(is_time):
        workers = [start_worker("limited", threads=8) for _ in range(2)]
        with contextlib.suppress(AssertionError):  # without the remedy no job continues
            eventually(is_time, within_s=30)
        for worker in workers:
            worker.kill()
        with db.connect() as conn:
            conn.execute(KILLED)

    for number in range(count):
        broker.enqueue(Message("parts", "work", (number,), {}, {}))
    judged.all_sent()
    hold.touch()
    for _ in range(HELD):
        killed_once(lambda: count_running() == AT_A_TIME)
    hold.unlink()
    killed_once(lambda: count_ended()[0][0] > 0)
    for _ in range(2):
        start_worker("limited", threads=8)
    quiet(
        lambda: rows(LEFT) == [(0,)] and count_ended() == [(count,)],
        lambda: (rows(LEFT), count_ended()),
        within_s=120,
    )

    [(together,)] = rows(TOGETHER)
    killed = len(rows("SELECT FROM runs WHERE killed"))
    judged(
        Result(
            lost=count - count_ended()[0][0],
            duplicated=max(0, together - AT_A_TIME),
            stuck=rows(LEFT)[0][0],
            notes={"together": together, "killed": killed},
        )
    )
    assert together == AT_A_TIME
    assert killed >= HELD * AT_A_TIME
    del broker.declared_queues["parts"]
