"""How fast the relay publishes stored jobs to RabbitMQ, and how late delayed jobs start."""

import sys
import time

from bench.measurement import Measurement, alone, alternating, beside, medians
from bench.processes import Tree
from bench.size import Size
from bench.world import World, settle

WITHIN_S = 240.0
FILL = """
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
    figures = [_relayed(world, size.relayed) for _ in range(size.rounds)]
    return [alone("relay", medians(figures)["rate"], "rows/s", at_least=15_000)]


def _relayed(world: World, count: int) -> dict[str, float]:
    world.empty()
    world.send("ours", "one", 1)  # declares the queue
    with world.database() as conn:
        conn.execute(FILL, ("0 s", count))
        conn.execute("VACUUM ANALYZE workshed.schedule")

        def left() -> int:
            row = conn.execute("SELECT count(*) FROM workshed.schedule").fetchone()
            return 0 if row is None else int(row[0])

        command = [sys.executable, "-m", "workshed.transport.relay.relay"]
        environment = world.environment("ours")
        with Tree(command, environment, world.folder / "relay.log") as tree:
            tree.until(lambda: left() < count, WITHIN_S)
            began, before = time.perf_counter(), left()
            tree.until(lambda: left() == 0, WITHIN_S)
            seconds = time.perf_counter() - began
    settle()
    return {"rate": before / seconds if before else float(count)}


def lateness(world: World, size: Size) -> list[Measurement]:
    """Send jobs that are due within seconds; timed from their due time to their start."""

    def measure(peer: str) -> dict[str, float]:
        world.empty()
        with world.worker(peer, 1) as (tree, marks):
            world.send(peer, "one", 1)
            tree.until(lambda: marks.count > 0, WITHIN_S)
            marks.path.write_bytes(b"")
            world.send(peer, "delayed", size.delayed)
            tree.until(lambda: marks.count >= size.delayed, WITHIN_S)
        late = marks.late_ms()
        return {"p50": late.p50, "p99": late.p99}

    found = alternating(size.rounds, ("ours", "stock"), measure)
    ours, stock = found["ours"], found["stock"]
    return [
        alone("a delayed job is late, p50", ours["p50"], "ms", at_most=10),
        alone("a delayed job is late, p99", ours["p99"], "ms", at_most=40),
        beside("a delayed job is late, p50", ours["p50"], "ms", "stock", stock["p50"]),
        beside("a delayed job is late, p99", ours["p99"], "ms", "stock", stock["p99"]),
    ]
