"""What one job costs each server, by what it uses: counts, which no other load changes, and CPU."""

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
"""A worker without a relay, whose looks for what is due would be counted too."""


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
"""Commits are those of transactions that wrote; rows are inserted, updated and deleted ones."""


def writes(world: World, size: Size, ways: Mapping[str, Way] = WAYS) -> list[Measurement]:
    """Let one worker do jobs of each kind as they are sent, and see what its servers did.

    What a worker does at its start and at its end is known from one job, and taken off. Autovacuum
    is off: when it comes, of which database, and what it analyzes there is no job's cost.
    """
    with world.without_autovacuum():
        return _of_each(world, size, ways)


def _of_each(world: World, size: Size, ways: Mapping[str, Way]) -> list[Measurement]:
    @cache
    def around(env: tuple[tuple[str, str], ...]) -> list[float]:
        one = Way("noop", "bulk", dict(env))
        _used(world, one, 1)  # what is written first after the servers' start is whole pages
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
    """Send so many and work them off; return the figures of all of them, CPU in µs."""
    world.empty()
    before = _counted(world)
    with world.worker("ours", 1, **way.env) as (tree, marks):
        tree.quiet(WITHIN_S)
        began = _cpu_us(world, tree)
        world.send("ours", way.way, count, way.job)
        tree.until(lambda: marks.count >= count * way.starts, WITHIN_S)
        tree.quiet(WITHIN_S)  # the outcomes of the last ones are written
        ended = _cpu_us(world, tree)
    counts = zip(_counted(world), before, strict=True)
    return [now - then for now, then in (*counts, *zip(ended, began, strict=True))]


def _cpu_us(world: World, tree: Tree) -> list[float]:
    return [seconds * 1e6 for seconds in (tree.cpu_s(), *world.servers_cpu_s())]


def _counted(world: World) -> list[float]:
    """Return what PostgreSQL has counted: its processes tell it at their end, so they are awaited.

    A transaction has a number once it has written; a savepoint that writes has one, too. What a
    worker and a relay do by the time they live, and not by job, is taken off: a beat is one
    transaction, which writes one row of its own, and how far its queues are.
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
