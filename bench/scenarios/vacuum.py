"""How large the schedule table grows while jobs go through it."""

import sys
from typing import Any

import psycopg

from bench.measurement import Measurement, alone, alternating
from bench.processes import Tree
from bench.scenarios.relay import FILL
from bench.size import Size
from bench.world import World

WITHIN_S = 240.0
AT_A_TIME = 500
DEAD_ROWS = 5_000
A_LOOK = DEAD_ROWS // 2
"""Each job leaves two dead rows: one when claimed, one when deleted."""
WAITING = 5_000
"""At most so many jobs wait, so that the size comes from dead rows and not from waiting jobs."""
MEGABYTE = 1_000_000
AT_ONCE = f"a vacuum at each {DEAD_ROWS:,} dead rows".replace(",", " ")
WAYS = ("autovacuum as it comes", AT_ONCE)


def vacuum(world: World, size: Size) -> list[Measurement]:
    """Send jobs through `workshed.schedule`; measure its final size, with all indexes."""
    found = alternating(
        size.rounds,
        WAYS,
        lambda way: {"size": grown(world, size.vacuumed, vacuuming=way == AT_ONCE)},
    )
    return [
        alone(f"workshed.schedule, {way}", figures["size"], "MB") for way, figures in found.items()
    ]


def grown(world: World, count: int, *, vacuuming: bool) -> float:
    """Return how large the table is after so many jobs, in MB."""
    world.empty()
    world.send("ours", "one", 1)  # declares the queue
    command, log = (
        [sys.executable, "-m", "workshed.transport.relay.relay"],
        world.folder / "relay.log",
    )
    with world.database() as conn, Tree(command, world.environment("ours"), log) as tree:
        through(conn, tree, count, vacuuming=vacuuming)
        row = conn.execute("SELECT pg_total_relation_size('workshed.schedule')").fetchone() or (0,)
    return float(row[0]) / MEGABYTE


def through(conn: psycopg.Connection[Any], tree: Tree, count: int, *, vacuuming: bool) -> None:
    """Store so many jobs, as fast as the relay sends them."""

    def waiting() -> int:
        row = conn.execute("SELECT count(*) FROM workshed.schedule").fetchone() or (0,)
        return int(row[0])

    for stored in range(AT_A_TIME, count + 1, AT_A_TIME):
        conn.execute(FILL, ("0 s", AT_A_TIME))
        if stored % A_LOOK == 0:
            tree.until(lambda: waiting() <= WAITING, WITHIN_S)
            if vacuuming:
                conn.execute("VACUUM workshed.schedule")
    tree.until(lambda: waiting() == 0, WITHIN_S)
