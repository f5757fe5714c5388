"""What the servers of this machine can do, without Workshed."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from bench.measurement import Measurement, alternate_rounds, report_alone
from bench.size import Size
from bench.world import SendCost, World

ROWS = "CREATE TABLE IF NOT EXISTS public.bench_rows (id bigserial PRIMARY KEY, text text)"
TEXT = "x" * 200


def ceiling(world: World, size: Size) -> list[Measurement]:
    """Publish to RabbitMQ from one and from two processes; commit and COPY to PostgreSQL."""
    ways: dict[str, Callable[[], float]] = {
        "RabbitMQ, confirmed publishes, 1 process": lambda: _measure_publishes(world, size, 1),
        "RabbitMQ, confirmed publishes, 2 processes": lambda: _measure_publishes(world, size, 2),
        "PostgreSQL, commits of one row, 1 connection": lambda: _measure_commits(world, size, 1),
        "PostgreSQL, commits of one row, 8 connections": lambda: _measure_commits(world, size, 8),
        "PostgreSQL, rows by COPY, 1 connection": lambda: _measure_copy(world, size),
    }
    found = alternate_rounds(size.rounds, list(ways), lambda way: {"rate": ways[way]()})
    return [report_alone(way, figures["rate"], "/s") for way, figures in found.items()]


def _measure_publishes(world: World, size: Size, processes: int) -> float:
    count = size.fast_sends // processes
    with ExitStack() as stack:
        environment = world.environment("raw")
        senders = [
            stack.enter_context(
                world.start_sender("raw-window", "many", count, "noop", environment)
            )
            for _ in range(processes)
        ]
        sent = [SendCost.read(sender) for sender in senders]
    world.reset()
    return sum(one.rate for one in sent)


def _measure_commits(world: World, size: Size, connections: int) -> float:
    each = size.slow_sends // connections

    def insert(start: threading.Barrier) -> None:
        with world.connect_database() as conn:
            start.wait()
            for _ in range(each):
                conn.execute("INSERT INTO public.bench_rows (text) VALUES (%s)", (TEXT,))

    with world.connect_database() as conn:
        conn.execute(ROWS)
    start = threading.Barrier(connections + 1)
    threads = [threading.Thread(target=insert, args=(start,)) for _ in range(connections)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return each * connections / (time.perf_counter() - began)


def _measure_copy(world: World, size: Size) -> float:
    with world.connect_database() as conn:
        conn.execute(ROWS)
        began = time.perf_counter()
        with conn.cursor().copy("COPY public.bench_rows (text) FROM STDIN") as stream:
            for _ in range(size.fast_sends):
                stream.write_row((TEXT,))
        took = time.perf_counter() - began
        conn.execute("TRUNCATE public.bench_rows")
    return size.fast_sends / took
