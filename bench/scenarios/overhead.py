"""What a job costs in addition to its own work: jobs that compute, and jobs that wait."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.measurement import Measurement, alternate_rounds, compare_with_peer
from bench.scenarios.drain import list_peers, measure_drain
from bench.size import Size
from bench.world import World

PEERS = ("ours", "stock", "celery threads", "sidekiq")
FIGURES = (
    ("", "rate", "jobs/s"),
    (", CPU", "cpu", "µs/job"),
    (", overhead CPU", "overhead", "µs/job"),
)
LEAST_US = 0.1
"""An overhead below what can be measured counts as this, because ratios divide by it."""


@dataclass(frozen=True)
class Work:
    """What each job of a kind does, and how many of them run."""

    job: str
    count: int
    own_cpu_us: float = 0.0


def overhead(world: World, size: Size) -> list[Measurement]:
    """Drain jobs that do nothing, compute for 1 ms and for 5 ms, and wait for 5 ms."""
    kinds = {
        "no-op jobs": Work("noop", size.drain_jobs),
        "jobs of 1 ms CPU": Work("compute_1ms", size.compute_jobs, 1_000.0),
        "jobs of 5 ms CPU": Work("compute_5ms", size.compute_jobs, 5_000.0),
        "jobs that wait 5 ms": Work("nap", size.nap_jobs),
    }
    here = list_peers(world, 1)
    peers = [peer for peer in PEERS if peer in here]
    made = []
    for kind, work in kinds.items():

        def measure(peer: str, work: Work = work) -> dict[str, float]:
            figures = measure_drain(world, peer, work.job, work.count, 1)
            return subtract_work(figures, work.own_cpu_us)

        made += compare_peers(f"{kind} -p 1", alternate_rounds(size.rounds, peers, measure))
    return made


def subtract_work(figures: Mapping[str, float], own_cpu_us: float) -> dict[str, float]:
    """Add what remains of a job's CPU without the job's own; its system calls remain too."""
    return {**figures, "overhead": max(LEAST_US, figures["cpu"] - own_cpu_us)}


def compare_peers(name: str, found: Mapping[str, Mapping[str, float]]) -> list[Measurement]:
    """Compare Workshed with each peer."""
    ours = found["ours"]
    return [
        compare_with_peer(f"{name}{what}", ours[figure], unit, peer, found[peer][figure])
        for peer in found
        if peer != "ours"
        for what, figure, unit in FIGURES
    ]
