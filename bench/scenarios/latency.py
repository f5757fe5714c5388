"""How long a job waits for an idle worker, and throughput while sending and working at once."""

from collections.abc import Generator
from contextlib import contextmanager

from bench.marks import Marks
from bench.measurement import Measurement, alone, alternating, beside
from bench.processes import Tree
from bench.size import Size
from bench.world import World, settle

WITHIN_S = 240.0
FIRST = 20
"""Warm-up jobs; they are not counted."""


def latency(world: World, size: Size) -> list[Measurement]:
    """Send 50 jobs a second to an idle worker; timed from the call of `send` to the start."""

    def measure(peer: str) -> dict[str, float]:
        with warmed(world, peer, 2) as (tree, marks):
            world.send(peer, "paced", size.paced)
            tree.until(lambda: marks.count >= size.paced, WITHIN_S)
        late = marks.late_ms()
        return {"p50": late.p50, "p99": late.p99}

    found = alternating(size.rounds, ("ours", "stock quorum", "celery threads"), measure)
    ours, stock, celery = (found[peer] for peer in found)
    return [
        beside(
            "enqueue to start, p50",
            ours["p50"],
            "ms",
            "stock, confirms",
            stock["p50"],
            at_most=1.25,
        ),
        beside("enqueue to start, p50", ours["p50"], "ms", "celery threads", celery["p50"]),
        alone("enqueue to start, p99", ours["p99"], "ms", at_most=10),
    ]


def both(world: World, size: Size) -> list[Measurement]:
    """Send and work at the same time, each as fast as possible."""

    def measure(peer: str) -> dict[str, float]:
        with warmed(world, peer, 1) as (tree, marks):
            before = tree.cpu_s()
            sent = world.send(peer, "many", size.drained)
            tree.until(lambda: marks.count >= size.drained, WITHIN_S)
            cpu = (tree.cpu_s() - before + sent.cpu_s) / size.drained
        settle()
        return {"rate": marks.rate(), "cpu": cpu * 1e6}

    found = alternating(size.rounds, ("ours", "stock"), measure)
    return [
        beside(
            "publish and work at once",
            found["ours"]["rate"],
            "jobs/s",
            "stock, no confirms",
            found["stock"]["rate"],
            at_least=1.5,
        ),
        beside(
            "publish and work at once, CPU of both",
            found["ours"]["cpu"],
            "µs/job",
            "stock, no confirms",
            found["stock"]["cpu"],
        ),
    ]


@contextmanager
def warmed(world: World, peer: str, processes: int) -> Generator[tuple[Tree, Marks]]:
    """Run a worker that has fully booted and is warm; its warm-up jobs are not recorded."""
    world.empty()
    with world.worker(peer, processes) as (tree, marks):
        world.send(peer, "one", FIRST)
        tree.until(lambda: marks.count >= FIRST, WITHIN_S)
        tree.quiet(WITHIN_S)
        marks.path.write_bytes(b"")
        yield tree, marks
