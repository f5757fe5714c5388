"""What one job costs each server, by kind of job: counts, which other load cannot skew, and CPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from bench.measurement import Measurement, report_alone
from bench.processes import ProcessTree
from bench.size import Size
from bench.world import World, wait_until_gone

WITHIN_S = 240.0
NO_HISTORY = {"WORKSHED_HISTORY": "none"}
WITHOUT_RELAY = {**NO_HISTORY, "WORKSHED_RELAY_FORK": "false"}
"""A worker without a relay, because the relay's polling would be counted too."""


@dataclass(frozen=True)
class JobKind:
    """A kind of job, how it is sent, and the worker's variables."""

    job: str
    way: str
    env: Mapping[str, str]
    starts: int = 1
    """How often each job starts."""


JOB_KINDS = {
    "plain": JobKind("noop", "bulk", WITHOUT_RELAY),
    "history": JobKind("noop", "bulk", {"WORKSHED_RELAY_FORK": "false"}),
    "once": JobKind("once", "bulk", WITHOUT_RELAY),
    "unique": JobKind("unique", "bulk", WITHOUT_RELAY),
    "limit on those that run": JobKind("concurrent", "bulk", WITHOUT_RELAY),
    "limit on starts": JobKind("bucket", "bulk", WITHOUT_RELAY),
    "stored": JobKind("noop", "stored", NO_HISTORY),
    "in a batch": JobKind("noop", "batched", NO_HISTORY),
    "fails once": JobKind("flaky", "bulk", NO_HISTORY, starts=2),
}
FIGURES = (
    ("commits", "/job"),
    ("rows", "/job"),
    ("WAL", "bytes/job"),
    ("worker CPU", "µs/job"),
    ("PostgreSQL CPU", "µs/job"),
    ("RabbitMQ CPU", "µs/job"),
)
"""Commits count transactions that wrote; rows count inserts, updates and deletes."""


def writes(world: World, size: Size, ways: Mapping[str, JobKind] = JOB_KINDS) -> list[Measurement]:
    """Run jobs of each kind in one worker as they are sent, and count what the servers did.

    What a worker does at its start and end is measured with a single job, and subtracted.
    Autovacuum is off, because its work cannot be attributed to a job.
    """
    with world.without_autovacuum():
        return _measure_kinds(world, size, ways)


def _measure_kinds(world: World, size: Size, ways: Mapping[str, JobKind]) -> list[Measurement]:
    @cache
    def around(env: tuple[tuple[str, str], ...]) -> list[float]:
        one = JobKind("noop", "bulk", dict(env))
        _measure_use(
            world, one, 1
        )  # not counted: the first writes after a server start are full pages
        return _measure_use(world, one, 1)

    made = []
    for name, way in ways.items():
        least = around(tuple(way.env.items()))
        used = _measure_use(world, way, size.write_jobs)
        for (figure, unit), all_of, one in zip(FIGURES, used, least, strict=True):
            each = max(0.0, all_of - one) / (size.write_jobs - 1)
            made.append(report_alone(f"{name}, {figure}", each, unit))
    return made


def _measure_use(world: World, way: JobKind, count: int) -> list[float]:
    """Send and run so many jobs; return the figures of all of them, CPU in µs."""
    world.reset()
    before = _read_counters(world)
    with world.run_worker("ours", 1, **way.env) as (tree, marks):
        tree.wait_until_idle(WITHIN_S)
        began = _cpu_us(world, tree)
        world.send("ours", way.way, count, way.job)
        tree.wait_until(lambda: marks.count >= count * way.starts, WITHIN_S)
        tree.wait_until_idle(WITHIN_S)  # until the outcomes of the last jobs are written
        ended = _cpu_us(world, tree)
    counts = zip(_read_counters(world), before, strict=True)
    return [now - then for now, then in (*counts, *zip(ended, began, strict=True))]


def _cpu_us(world: World, tree: ProcessTree) -> list[float]:
    return [seconds * 1e6 for seconds in (tree.cpu_s(), *world.servers_cpu_s())]


def _read_counters(world: World) -> list[float]:
    """Return PostgreSQL's counters; waits for its sessions to end, which is when they report them.

    Transactions are counted by transaction id: one that writes has an id, and so has a savepoint
    that writes. What depends on time and not on jobs is subtracted: each heartbeat of a worker or
    relay is one transaction, which writes its own row, and the state of its queues.
    """
    query = """
        SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint - by_time, by_jobs,
               (SELECT wal_bytes FROM pg_stat_wal)
          FROM (SELECT sum(written) FILTER (WHERE relname IN ('workers', 'relays')) AS by_time,
                       sum(written) FILTER (WHERE schemaname = 'workshed'
                         AND relname NOT IN ('workers', 'relays', 'queues')) AS by_jobs
                  FROM (SELECT schemaname, relname, n_tup_ins + n_tup_upd + n_tup_del AS written
                          FROM pg_stat_all_tables) AS each) AS counted
    """
    with world.connect_database() as conn:
        wait_until_gone(conn, "client backend")
        return [float(count) for count in conn.execute(query).fetchone() or ()]
