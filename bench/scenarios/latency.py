"""How long a job waits for an idle worker, and throughput while sending and working at once."""

from collections.abc import Generator
from contextlib import contextmanager

from bench.marks import Marks
from bench.measurement import Measurement, alternate_rounds, compare_with_peer, report_alone
from bench.processes import ProcessTree
from bench.size import Size
from bench.world import World, pause_between_rounds

WITHIN_S = 240.0
WARM_UP = 20
"""Warm-up jobs; they are not counted."""


def latency(world: World, size: Size) -> list[Measurement]:
    """Send 50 jobs a second to an idle worker; timed from the call of `send` to the start."""

    def measure(peer: str) -> dict[str, float]:
        with run_warm_worker(world, peer, 2) as (tree, marks):
            world.send(peer, "paced", size.paced_sends)
            tree.wait_until(lambda: marks.count >= size.paced_sends, WITHIN_S)
        late = marks.latency_ms()
        return {"p50": late.p50, "p99": late.p99}

    found = alternate_rounds(size.rounds, ("ours", "stock quorum", "celery threads"), measure)
    ours, stock, celery = (found[peer] for peer in found)
    return [
        compare_with_peer(
            "enqueue to start, p50",
            ours["p50"],
            "ms",
            "stock, confirms",
            stock["p50"],
            at_most=1.1,
        ),
        compare_with_peer(
            "enqueue to start, p50", ours["p50"], "ms", "celery threads", celery["p50"]
        ),
        report_alone("enqueue to start, p99", ours["p99"], "ms", at_most=10),
    ]


def both(world: World, size: Size) -> list[Measurement]:
    """Send and work at the same time, each as fast as possible."""

    def measure(peer: str) -> dict[str, float]:
        with run_warm_worker(world, peer, 1) as (tree, marks):
            before = tree.cpu_s()
            sent = world.send(peer, "many", size.drain_jobs)
            tree.wait_until(lambda: marks.count >= size.drain_jobs, WITHIN_S)
            cpu = (tree.cpu_s() - before + sent.cpu_s) / size.drain_jobs
        pause_between_rounds()
        return {"rate": marks.rate(), "cpu": cpu * 1e6}

    found = alternate_rounds(size.rounds, ("ours", "stock"), measure)
    return [
        compare_with_peer(
            "publish and work at once",
            found["ours"]["rate"],
            "jobs/s",
            "stock, no confirms",
            found["stock"]["rate"],
            at_least=1.5,
        ),
        compare_with_peer(
            "publish and work at once, CPU of both",
            found["ours"]["cpu"],
            "µs/job",
            "stock, no confirms",
            found["stock"]["cpu"],
        ),
    ]


@contextmanager
def run_warm_worker(
    world: World, peer: str, processes: int
) -> Generator[tuple[ProcessTree, Marks]]:
    """Run a worker that has fully booted and is warm; its warm-up jobs are not recorded."""
    world.reset()
    with world.run_worker(peer, processes) as (tree, marks):
        world.send(peer, "one", WARM_UP)
        tree.wait_until(lambda: marks.count >= WARM_UP, WITHIN_S)
        tree.wait_until_idle(WITHIN_S)
        marks.path.write_bytes(b"")
        yield tree, marks
