"""Whether vacuum keeps up with the jobs of a worker on PostgreSQL alone."""

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg

from bench.measurement import Measurement, report_alone
from bench.processes import BenchError, ProcessTree
from bench.scenarios.postgresql import OURS
from bench.scenarios.relay import INSERT_JOBS
from bench.scenarios.vacuum import MEGABYTE
from bench.size import Size
from bench.world import World

JOBS_PER_S = 300
BATCH = 30
MOST_WAITING = 20 * JOBS_PER_S
"""With more waiting jobs, the worker does not keep up, and the figures would show only that."""
LOOK_S = 1.0
MOST_GROWTH = 1.25
LOOK = """
    SELECT (SELECT count(*) FROM workshed.schedule),
           (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'workshed.schedule'::regclass),
           pg_total_relation_size('workshed.schedule'),
           pg_relation_size('workshed.schedule_ready')
"""


@dataclass(frozen=True)
class TableState:
    """What `workshed.schedule` holds, and its size."""

    waiting: int
    dead_rows: int
    size_bytes: int
    index_bytes: int


def steady(world: World, size: Size) -> list[Measurement]:
    """Send 300 jobs a second for an hour; the last third is compared with the one before."""
    states = run_steadily(world, size.steady_s)
    third = max(1, len(states) // 3)
    middle, end = states[third : 2 * third] or states, states[-third:]
    span = f"{JOBS_PER_S} jobs/s for {size.steady_s:g} s"
    growth = max(one.size_bytes for one in end) / max(one.size_bytes for one in middle)
    return [
        report_alone(f"{span}, jobs that wait, most", max(s.waiting for s in states), "rows"),
        report_alone(f"{span}, dead rows, most", max(s.dead_rows for s in states), "rows"),
        report_alone(f"{span}, table and indexes", states[-1].size_bytes / MEGABYTE, "MB"),
        report_alone(f"{span}, index of ready jobs", states[-1].index_bytes / MEGABYTE, "MB"),
        report_alone(f"{span}, growth in the last third", growth, "times", at_most=MOST_GROWTH),
    ]


def run_steadily(world: World, span_s: float) -> list[TableState]:
    """Send jobs at an even pace to a worker and a relay; return the state of each second."""
    world.reset()
    world.send(OURS, "one", 1)  # declares the queue
    environment = world.environment(OURS)
    relay = [sys.executable, "-m", "workshed.transport.relay.relay"]
    with ExitStack() as stack:
        conn = stack.enter_context(world.connect_database())
        tree, _ = stack.enter_context(world.run_worker(OURS))
        stack.enter_context(ProcessTree(relay, environment, world.folder / "relay.log"))
        states: list[TableState] = []
        began, sent = time.monotonic(), 0
        while (now := time.monotonic() - began) < span_s:
            while sent < now * JOBS_PER_S:
                conn.execute(INSERT_JOBS, ("0 s", BATCH))
                sent += BATCH
            if now >= len(states) * LOOK_S:
                states.append(look_at_table(conn))
            time.sleep(BATCH / JOBS_PER_S / 2)
        tree.wait_until(lambda: look_at_table(conn).waiting == 0, span_s)
    return states


def look_at_table(conn: psycopg.Connection[Any]) -> TableState:
    """Return the state of the table; raises `BenchError` if the worker is left behind."""
    row = conn.execute(LOOK).fetchone()
    found = TableState(*(int(value or 0) for value in row or (0, 0, 0, 0)))
    if found.waiting > MOST_WAITING:
        raise BenchError(f"{found.waiting} jobs wait: one worker is too slow here for this pace")
    return found
