"""How large the schedule table grows while jobs go through it."""

import sys
from typing import Any

import psycopg

from bench.measurement import Measurement, alternate_rounds, report_alone
from bench.processes import ProcessTree
from bench.scenarios.relay import INSERT_JOBS
from bench.size import Size
from bench.world import World

WITHIN_S = 240.0
INSERT_BATCH = 500
DEAD_ROWS = 5_000
CHECK_EVERY = DEAD_ROWS // 2
"""Each job leaves two dead rows: one when claimed, one when deleted."""
MAX_WAITING = 5_000
"""At most so many jobs wait, so that the size comes from dead rows and not from waiting jobs."""
MEGABYTE = 1_000_000
EARLY_VACUUM = f"a vacuum at each {DEAD_ROWS:,} dead rows".replace(",", " ")
WAYS = ("autovacuum as it comes", EARLY_VACUUM)


def vacuum(world: World, size: Size) -> list[Measurement]:
    """Send jobs through `workshed.schedule`; measure its final size, with all indexes."""
    found = alternate_rounds(
        size.rounds,
        WAYS,
        lambda way: {"size": measure_size(world, size.vacuum_jobs, vacuuming=way == EARLY_VACUUM)},
    )
    return [
        report_alone(f"workshed.schedule, {way}", figures["size"], "MB")
        for way, figures in found.items()
    ]


def measure_size(world: World, count: int, *, vacuuming: bool) -> float:
    """Return how large the table is after so many jobs, in MB."""
    world.reset()
    world.send("ours", "one", 1)  # declares the queue
    command, log = (
        [sys.executable, "-m", "workshed.transport.relay.relay"],
        world.folder / "relay.log",
    )
    with (
        world.connect_database() as conn,
        ProcessTree(command, world.environment("ours"), log) as tree,
    ):
        send_through_schedule(conn, tree, count, vacuuming=vacuuming)
        row = conn.execute("SELECT pg_total_relation_size('workshed.schedule')").fetchone() or (0,)
    return float(row[0]) / MEGABYTE


def send_through_schedule(
    conn: psycopg.Connection[Any], tree: ProcessTree, count: int, *, vacuuming: bool
) -> None:
    """Store so many jobs, as fast as the relay sends them."""

    def waiting() -> int:
        row = conn.execute("SELECT count(*) FROM workshed.schedule").fetchone() or (0,)
        return int(row[0])

    for stored in range(INSERT_BATCH, count + 1, INSERT_BATCH):
        conn.execute(INSERT_JOBS, ("0 s", INSERT_BATCH))
        if stored % CHECK_EVERY == 0:
            tree.wait_until(lambda: waiting() <= MAX_WAITING, WITHIN_S)
            if vacuuming:
                conn.execute("VACUUM workshed.schedule")
    tree.wait_until(lambda: waiting() == 0, WITHIN_S)
