"""What one job costs each server, by kind of job: counts, which other load cannot skew, and CPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from bench.measurement import Measurement, alone
from bench.processes import Tree
from bench.size import Size
from bench.world import World, until_gone

WITHIN_S = 240.0
NO_HISTORY = {"WORKSHED_HISTORY": "none"}
ALONE = {**NO_HISTORY, "WORKSHED_RELAY_FORK": "false"}
"""A worker without a relay, because the relay's polling would be counted too."""


@dataclass(frozen=True)
class Way:
    """A kind of job, how it is sent, and the worker's variables."""

    job: str
    way: str
    env: Mapping[str, str]
    starts: int = 1
    """How often each job starts."""


WAYS = {
    "plain": Way("noop", "bulk", ALONE),
    "history": Way("noop", "bulk", {"WORKSHED_RELAY_FORK": "false"}),
    "once": Way("once", "bulk", ALONE),
    "unique": Way("unique", "bulk", ALONE),
    "limit on those that run": Way("concurrent", "bulk", ALONE),
    "limit on starts": Way("bucket", "bulk", ALONE),
    "stored": Way("noop", "stored", NO_HISTORY),
    "in a batch": Way("noop", "batched", NO_HISTORY),
    "fails once": Way("flaky", "bulk", NO_HISTORY, starts=2),
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


def writes(world: World, size: Size, ways: Mapping[str, Way] = WAYS) -> list[Measurement]:
    """Run jobs of each kind in one worker as they are sent, and count what the servers did.

    What a worker does at its start and end is measured with a single job, and subtracted.
    Autovacuum is off, because its work cannot be attributed to a job.
    """
    with world.without_autovacuum():
        return _of_each(world, size, ways)


def _of_each(world: World, size: Size, ways: Mapping[str, Way]) -> list[Measurement]:
    @cache
    def around(env: tuple[tuple[str, str], ...]) -> list[float]:
        one = Way("noop", "bulk", dict(env))
        _used(world, one, 1)  # not counted: the first writes after a server start are full pages
        return _used(world, one, 1)

    made = []
    for name, way in ways.items():
        least = around(tuple(way.env.items()))
        used = _used(world, way, size.written)
        for (figure, unit), all_of, one in zip(FIGURES, used, least, strict=True):
            each = max(0.0, all_of - one) / (size.written - 1)
            made.append(alone(f"{name}, {figure}", each, unit))
    return made


def _used(world: World, way: Way, count: int) -> list[float]:
    """Send and run so many jobs; return the figures of all of them, CPU in µs."""
    world.empty()
    before = _counted(world)
    with world.worker("ours", 1, **way.env) as (tree, marks):
        tree.quiet(WITHIN_S)
        began = _cpu_us(world, tree)
        world.send("ours", way.way, count, way.job)
        tree.until(lambda: marks.count >= count * way.starts, WITHIN_S)
        tree.quiet(WITHIN_S)  # until the outcomes of the last jobs are written
        ended = _cpu_us(world, tree)
    counts = zip(_counted(world), before, strict=True)
    return [now - then for now, then in (*counts, *zip(ended, began, strict=True))]


def _cpu_us(world: World, tree: Tree) -> list[float]:
    return [seconds * 1e6 for seconds in (tree.cpu_s(), *world.servers_cpu_s())]


def _counted(world: World) -> list[float]:
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
    with world.database() as conn:
        until_gone(conn, "client backend")
        return [float(count) for count in conn.execute(query).fetchone() or ()]
