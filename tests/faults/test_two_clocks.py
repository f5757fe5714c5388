"""Two clocks that are killed and stopped at the times of runs: each time has exactly one run."""

import contextlib
import random
from datetime import timedelta

import pytest

from tests.faults.experiment import Remedy, Result, experiment
from tests.library.e2e.test_clocks import (
    HOUR,
    NINE,
    _moved,
    move,
    rows,
    start_clock,
)

__all__ = ["_moved", "move", "rows", "start_clock"]

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NOT_AWAY = timedelta()
AWAY = (NOT_AWAY, MINUTE, HOUR, 3 * DAY)
BEFORE, AFTER = timedelta(seconds=12), timedelta(seconds=3)
"""Kills and moves come this long before a time, and clocks have fired this long after it."""
ACTORS = """
from datetime import timedelta
import dramatiq
from workshed import broker, db
from workshed.cronspec import cron, every
from workshed.jobs import scheduled_for

def ran(name):
    with db.transaction() as conn:
        conn.execute("INSERT INTO public.runs VALUES (%s, %s)", (name, scheduled_for()))

def job(name, spec):
    return dramatiq.actor(
        broker=broker, queue_name="low", actor_name=name, once=True, periodic=spec)

@job("hourly", cron("0 * * * *", tz="UTC", misfire="all"))
def hourly(): ran("hourly")

@job("last", cron("0 * * * *", tz="UTC"))
def last(): ran("last")

@job("often", every(timedelta(seconds=10)))
def often(): ran("often")
"""
MADE_AT = "SELECT 1 FROM workshed.periodic_runs WHERE job = 'hourly' AND scheduled_for = %s"
WAITING = "SELECT count(*) FROM workshed.schedule"
DUE = (
    "SELECT count(*) FROM workshed.periodic_jobs "
    "WHERE next_at <= workshed.now() AND name <> 'often'"
)
MADE = (
    "SELECT created_by, count(*) FROM workshed.periodic_runs "
    "WHERE job = 'hourly' GROUP BY 1 ORDER BY 1"
)
RUNS = "SELECT job, scheduled_for, count(*) FROM public.runs GROUP BY 1, 2"


class Hosts:
    """A worker with its relay, and two clocks, all of which may be killed."""

    def __init__(self, start_worker, start_clock, eventually):
        self._start_worker = start_worker
        self._start_clock = start_clock
        self._eventually = eventually
        self._worker = None
        self._clocks = []
        self.killed = 0

    def start(self):
        if self._worker is None:
            self._worker = self._start_worker("sundial", threads=4)
        while len(self._clocks) < 2:
            self._clocks.append(self._start_clock())

    def wait(self):
        self._eventually(
            lambda: all(", planned for " in one.text for one in self._clocks), within_s=180
        )

    def kill_clock(self):
        clock = self._clocks.pop(0)
        clock.process.kill()
        clock.process.wait(60)
        self.killed += 1

    def kill(self, *, worker):
        while self._clocks:
            self.kill_clock()
        if worker:
            self.kill_worker()

    def kill_worker(self):
        self._worker.kill()
        self._worker = None


@pytest.fixture
def hosts(_moved, tmp_path, start_worker, start_clock, eventually):
    (tmp_path / "sundial.py").write_text(ACTORS)
    return Hosts(start_worker, start_clock, eventually)


@pytest.mark.timeout(1200)
@experiment(
    "two-clocks",
    number=14,
    fails_by="duplicated",
    needs_rabbitmq=False,
    fault="`kill -9` of one of two clocks around a scheduled time, while no relay runs; then the "
    "clocks, or all processes, are away for 1 min, 1 h or 3 d",
    load="an hourly job, with a kill and three outages, eight times",
    remedy=Remedy(
        "workshed/sql/0001_baseline.sql",
        "    CONSTRAINT periodic_runs_key PRIMARY KEY (job, scheduled_for),",
        "    CONSTRAINT periodic_runs_key UNIQUE (job, scheduled_for, message_id),",
    ),
)
def test_each_time_has_one_run(move, rows, hosts, judged, quiet, seed, scale, eventually):
    """The hosts' clocks are moved, so the test does not wait for three days."""
    chance = random.Random(seed)  # noqa: S311 -- repeatable

    def wait_until(moment):
        eventually(lambda: rows("SELECT 1 WHERE workshed.now() > %s", moment), within_s=60)

    def list_runs():
        return {(job, scheduled_for): times for job, scheduled_for, times in rows(RUNS)}

    move(NINE - HOUR / 2)
    hosts.start()
    first = now = NINE
    for away in AWAY * scale(8, by=8):
        if away:
            move(now - BEFORE)
            hosts.kill(worker=away >= DAY or chance.random() < 0.5)
            move(now + away - BEFORE)
            rows("UPDATE workshed.periodic_jobs SET seen_at = seen_at - %s RETURNING 1", away)
            hosts.start()
            wait_until(now + away + AFTER)
            now += away - away % HOUR
        else:
            hosts.wait()
            hosts.kill_worker()  # with its relay, which would make the run where clocks are slow
            move(now - BEFORE)
            wait_until(now + timedelta(seconds=chance.uniform(-0.5, 1.5)))
            hosts.kill_clock()
            with contextlib.suppress(AssertionError):
                eventually(lambda at=now: rows(MADE_AT, at), within_s=120)
            hosts.start()
        now += HOUR
    judged.all_sent()
    wanted = [first + n * HOUR for n in range((now - first) // HOUR)]

    def left():
        return rows(DUE)[0][0] + rows(WAITING)[0][0]

    def has_ended():
        return left() == 0 and {
            scheduled_for for job, scheduled_for in list_runs() if job == "hourly"
        } >= set(wanted)

    quiet(has_ended, lambda: (left(), len(list_runs())), within_s=120)

    ran = list_runs()
    judged(
        Result(
            lost=sum(("hourly", time) not in ran for time in wanted)
            + (("last", wanted[-1]) not in ran),
            ghost=sum(time not in wanted for job, time in ran if job != "often"),
            duplicated=sum(ran.values()) - len(ran),
            stuck=left(),
            notes={
                "hours": len(wanted),
                "kills of clocks": hosts.killed,
                **{f"made by a {by}": n for by, n in rows(MADE)},
            },
        )
    )
    assert hosts.killed >= len(AWAY)
    assert "clock" in dict(rows(MADE))
