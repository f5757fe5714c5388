"""How fast the relay publishes stored jobs to RabbitMQ, and how late delayed jobs start."""

import sys
import time

from bench.measurement import (
    Measurement,
    alternate_rounds,
    compare_with_peer,
    median_figures,
    report_alone,
)
from bench.processes import ProcessTree
from bench.size import Size
from bench.world import World, pause_between_rounds

WITHIN_S = 240.0
INSERT_JOBS = """
    INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
    SELECT id, 0, 'bench0', 'noop',
           json_build_object('queue_name', 'bench0', 'actor_name', 'noop',
                             'args', json_build_array(1), 'kwargs', json_build_object(),
                             'options', json_build_object(), 'message_id', id,
                             'message_timestamp', 1700000000000),
           'delayed', workshed.now() + %s
      FROM (SELECT gen_random_uuid()::text AS id FROM generate_series(1, %s)) AS new
"""


def relay(world: World, size: Size) -> list[Measurement]:
    """Store due jobs, and start a relay."""
    figures = [_measure_relay(world, size.relay_jobs) for _ in range(size.rounds)]
    return [report_alone("relay", median_figures(figures)["rate"], "rows/s", at_least=15_000)]


def _measure_relay(world: World, count: int) -> dict[str, float]:
    world.reset()
    world.send("ours", "one", 1)  # declares the queue
    with world.connect_database() as conn:
        conn.execute(INSERT_JOBS, ("0 s", count))
        conn.execute("VACUUM ANALYZE workshed.schedule")

        def left() -> int:
            row = conn.execute("SELECT count(*) FROM workshed.schedule").fetchone()
            return 0 if row is None else int(row[0])

        command = [sys.executable, "-m", "workshed.transport.relay.relay"]
        environment = world.environment("ours")
        with ProcessTree(command, environment, world.folder / "relay.log") as tree:
            tree.wait_until(lambda: left() < count, WITHIN_S)
            began, before = time.perf_counter(), left()
            tree.wait_until(lambda: left() == 0, WITHIN_S)
            seconds = time.perf_counter() - began
    pause_between_rounds()
    return {"rate": before / seconds if before else float(count)}


def lateness(world: World, size: Size) -> list[Measurement]:
    """Send jobs that are due within seconds; timed from their due time to their start."""

    def measure(peer: str) -> dict[str, float]:
        world.reset()
        with world.run_worker(peer, 1) as (tree, marks):
            world.send(peer, "one", 1)
            tree.wait_until(lambda: marks.count > 0, WITHIN_S)
            marks.path.write_bytes(b"")
            world.send(peer, "delayed", size.delayed_jobs)
            tree.wait_until(lambda: marks.count >= size.delayed_jobs, WITHIN_S)
        late = marks.latency_ms()
        return {"p50": late.p50, "p99": late.p99}

    found = alternate_rounds(size.rounds, ("ours", "stock"), measure)
    ours, stock = found["ours"], found["stock"]
    return [
        report_alone("a delayed job is late, p50", ours["p50"], "ms", at_most=10),
        report_alone("a delayed job is late, p99", ours["p99"], "ms", at_most=25),
        compare_with_peer("a delayed job is late, p50", ours["p50"], "ms", "stock", stock["p50"]),
        compare_with_peer("a delayed job is late, p99", ours["p99"], "ms", "stock", stock["p99"]),
    ]
