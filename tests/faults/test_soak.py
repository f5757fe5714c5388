"""A long steady load while a worker is killed now and then: what grows, and what is left."""

import contextlib
import time
from datetime import timedelta

import pytest

from tests.faults.every import Every
from tests.faults.experiment import Remedy, experiment
from tests.faults.soaking import Samples, family, rss_mib
from workshed import db, schedule
from workshed.jobs.maintenance import retention
from workshed.settings import settings
from workshed.transport.relay.maintenance import EVERY_S, Maintenance
from workshed.transport.relay.pruner import Pruner

A_SECOND = 50
NOTHING = timedelta(microseconds=1)
BOUNDED = {
    *("migrations", "queues", "actors", "periodic_jobs", "workers", "relays", "limits"),
    *("run_locks", "runs_dropped", "run_counts", "run_minutes", "run_totals"),
    *("console_sessions", "login_failures", "pruned"),
}
"""Tables with a row for each process, queue, actor, minute and so on, not for each job."""
TABLES = """
    SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = 'workshed' AND c.relkind = 'r' AND c.relname !~ '^runs' ORDER BY 1
"""
"""All tables but the history of runs, which is dropped by whole days."""
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
MOST_MORE = 4
"""Tolerated growth in connections, because a pool may just have opened some."""


@pytest.fixture
def measured(connect, rabbitmq):
    """`measured(worker)`: connections, rows by table, and the memory of a master's processes."""
    conn = connect(autocommit=True)
    tables = [name for (name,) in conn.execute(TABLES)]

    def one(query):
        return conn.execute(query).fetchone()[0]

    def rows():
        return {name: one(f'SELECT count(*) FROM workshed."{name}"') for name in tables}  # noqa: S608

    def take(worker):
        connected = {
            "PostgreSQL": one(CONNECTED),
            "RabbitMQ": len(rabbitmq.connections()),
            "MiB": rss_mib(family(worker.process.pid)),
        }
        return connected | rows()

    take.rows = rows
    return take


def keep_nothing():
    """Clean up as relays do, with every retention time over."""
    keep = Maintenance(NOTHING)
    with db.connect() as conn:
        while keep(conn) != EVERY_S:
            pass
    every = dict.fromkeys(("dead_retention", "attempt_retention"), NOTHING)
    prune = Pruner(retention.retention_rules(settings().replace(**every)))
    with db.connect() as conn:
        while prune(conn) != EVERY_S:
            pass


@pytest.mark.timeout(1200)
@experiment(
    "soak",
    number=22,
    fails_by="stuck",
    needs_rabbitmq=False,
    fault="`kill -9` of one of two worker masters every minute, once the other is up",
    load="50 jobs/s of four kinds for 10 minutes, sent directly, in transactions and with a "
    "delay; rows and connections that are left at the end count as stuck",
    remedy=Remedy(
        "workshed/transport/relay/maintenance.py",
        "                once_keys.prune_once_keys,\n",
        "",
    ),
)
def test_nothing_grows(ledger, start_one, measured, judged, drained, scale, eventually):
    """Everything is deleted after its retention time; growth is reported per day."""
    seconds, kill_s, look_s = scale(600, by=15), scale(60, by=6), scale(5)
    steady, victims = start_one(), [start_one()]
    samples = Samples(lambda: measured(steady))

    def kill():
        with contextlib.suppress(ProcessLookupError):
            victims[-1].kill()
        victims.append(start_one(ready=False))

    def delayed(number):
        message = ledger.message(number)
        with db.transaction() as conn:
            schedule.send(conn, message, delay=timedelta(seconds=1))
        ledger.note(message)

    ways = [ledger.send] * 7 + [ledger.commit] * 2 + [delayed]
    began = time.monotonic()
    with Every(look_s or 1, samples.add), Every(kill_s, kill) as kills:
        for number in range(seconds * A_SECOND):
            eventually(lambda n=number: time.monotonic() >= began + n / A_SECOND, within_s=60)
            ways[number % len(ways)](number)
    result = drained(within_s=240)
    keep_nothing()
    kept = {name: count for name, count in measured.rows().items() if name not in BOUNDED}
    result.stuck += sum(kept.values())
    for name in ("PostgreSQL", "RabbitMQ"):
        grown = samples.growth(name)
        result.stuck += int(grown) if grown > MOST_MORE else 0
        result.notes[f"connections to {name}, extrapolated more a day"] = samples.a_day(name)
    result.notes |= {
        "MiB of a master with its worker and relay, extrapolated more a day": samples.a_day("MiB"),
        "rows of starts and schedule, extrapolated more a day": samples.a_day("redelivered_starts")
        + samples.a_day("schedule"),
        "jobs": len(ledger.sent),
        "kills": kills.times,
        **{f"rows left in {name}": count for name, count in kept.items() if count},
    }
    judged(result)
    assert kills.times > 1
    assert steady.process.poll() is None
