"""Jobs that are due in days, and jobs that run longer than RabbitMQ's consumer timeout."""

import random
from datetime import timedelta
from pathlib import Path

import pytest
from dramatiq import Message

from tests.faults.conftest import Emptied
from tests.faults.experiment import Remedy, Result, experiment
from tests.programs import RELAY_READY
from workshed import Queue, db, schedule

PROGRAM = (Path(__file__).parent / "waiting.py").read_text()
TIMEOUT_S = 5
AHEAD = timedelta(days=3)
TABLE = "CREATE TABLE public.effects (kind text, number integer, at timestamptz)"
LEFT = """
    SELECT (SELECT count(*) FROM workshed.schedule WHERE actor <> 'remind')
         + (SELECT count(*) FROM workshed.redelivered_starts)
"""
LATE = """
    SELECT COALESCE(max(EXTRACT(epoch FROM e.at - a.ended_at)) - 1, 0)
      FROM effects AS e
      JOIN workshed.attempts AS a ON a.message_id = 'fail-' || e.number
     WHERE e.kind = 'fail'
"""
CLOSED = "RabbitMQ closed the channel of queue long"


@pytest.fixture
def rows(connect):
    conn = connect(autocommit=True)
    conn.execute(TABLE)
    return lambda query: conn.execute(query).fetchall()


@pytest.fixture
def impatient(servers, rabbitmq):
    """Let RabbitMQ take back deliveries not settled after 5 s, and check for that every second.

    A policy sets it too, because the shorter one of policy and queue argument applies.
    """

    def set_to(timeout_ms, look_ms):
        for name, value in (("consumer_timeout", timeout_ms), ("channel_tick_interval", look_ms)):
            servers.rabbitmq.ctl("eval", f"application:set_env(rabbit, {name}, {value}).")

    rules = {"consumer-timeout": TIMEOUT_S * 1000}
    policy = {"pattern": ".*", "definition": rules, "apply-to": "queues"}
    rabbitmq.ask("PUT", f"policies/{rabbitmq.vhost}/impatient", policy)
    set_to(TIMEOUT_S * 1000, 1000)
    yield
    set_to(1_800_000, 60_000)


@pytest.fixture
def workers(broker, impatient, rows, start_worker, tmp_path, eventually):
    """A worker for the long jobs and one for the others, with their relays.

    So a retry is never late because all threads have long jobs.
    """
    for name in ("parts", "long"):
        broker.add_queue(Queue(name))
    (tmp_path / "waiting.py").write_text(PROGRAM)
    started = [
        start_worker("waiting", threads=threads, options=("--queues", name))
        for name, threads in {"long": 16, "parts": 8}.items()
    ]
    eventually(lambda: all(RELAY_READY in worker.text() for worker in started), within_s=60)
    yield started
    for name in ("parts", "long"):
        del broker.declared_queues[name]


@pytest.mark.timeout(1800)
@experiment(
    "far-future",
    number=10,
    fails_by="lost",
    fault=f"RabbitMQ takes deliveries back after {TIMEOUT_S} s, while jobs take 1 to 20 s",
    load="20 000 jobs that are due in three days, 200 long ones, and 500 that are retried after "
    "1 s",
    remedy=Remedy(
        "workshed/jobs/outbox/claims.py",
        "AND due_at <= workshed.now()",
        "AND due_at <= workshed.now() + interval '9 years'",
    ),
)
def test_jobs_that_are_not_due_wait_and_delay_no_other(
    broker, rows, rabbitmq, workers, quiet, judged, scale
):
    reminders, long, failing = scale(20_000), scale(200, by=5), scale(500, by=5)
    with db.transaction() as conn:
        for number in range(reminders):
            schedule.send(conn, Message("parts", "remind", (number,), {}, {}), delay=AHEAD)

    sent = set()
    for number in range(max(long, failing)):
        if number < long:
            seconds = random.uniform(1, scale(20, by=3))  # noqa: S311 -- a die
            broker.enqueue(Message("long", "last", (number, seconds), {}, {}))
            sent.add(("last", number))
        if number < failing:
            broker.enqueue(Message("parts", "fail", (number,), {}, {}, f"fail-{number}"))
            sent.add(("fail", number))
    judged.all_sent()

    def effects():
        found = rows("SELECT kind, number, count(*) FROM effects GROUP BY 1, 2")
        return {(kind, number): times for kind, number, times in found}

    def waiting():
        return rows("SELECT count(*) FROM workshed.schedule WHERE actor = 'remind'")[0][0]

    def left():
        return rows(LEFT)[0][0] + sum(q.get("messages", 0) for q in rabbitmq.queues().values())

    is_empty = Emptied(left)
    quiet(
        lambda: is_empty() and effects().keys() >= sent,
        lambda: (len(effects()), waiting(), left()),
        within_s=900,
    )

    done = effects()
    closed = sum(worker.text().count(CLOSED) for worker in workers)
    judged(
        Result(
            lost=len(sent - done.keys()) + reminders - waiting(),
            ghost=len(done.keys() - sent),
            duplicated=sum(times - 1 for times in done.values()),
            stuck=left(),
            notes={
                "reminders": reminders,
                "channels closed": closed,
                "a retry late by at most, in s": round(float(rows(LATE)[0][0]), 1),
            },
        )
    )
    assert closed > 0
