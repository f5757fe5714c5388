"""How the cost of a job grows with threads, queues, message size and prefetch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.measurement import Measurement, alternate_rounds, compare_with_peer
from bench.scenarios.drain import measure_drain
from bench.size import Size
from bench.world import THREADS, World

DRAIN_FIGURES = (("", "rate", "jobs/s"), (", CPU", "cpu", "µs/job"))


@dataclass(frozen=True)
class DrainWay:
    """One of several ways to drain the same number of jobs."""

    job: str = "noop"
    threads: int = THREADS
    env: Mapping[str, str] = field(default_factory=dict)


def growth(world: World, size: Size) -> list[Measurement]:
    """Drain with more of each, with every middleware on; compare with the least of each."""
    threads = {f"{n} thread{plural_ending(n)}": DrainWay(threads=n) for n in (1, 8, 32)}
    queues = {
        f"{n} queue{plural_ending(n)}": DrainWay("everywhere", env={"BENCH_QUEUES": str(n)})
        for n in (1, 8)
    }
    sizes = {
        f"{n} bytes": DrainWay("padded", env={"BENCH_PADDING": str(n)})
        for n in (100, 1_000, 10_000, 60_000)
    }
    held = {
        f"prefetch {n}": DrainWay(env={"BENCH_PREFETCH": str(n)}) for n in (8, 16, 64, 128, 512)
    }
    return [
        one for ways in (threads, queues, sizes, held) for one in compare_ways(world, size, ways)
    ]


def compare_ways(world: World, size: Size, ways: Mapping[str, DrainWay]) -> list[Measurement]:
    """Measure several ways, and compare each with the first."""

    def measure(name: str) -> dict[str, float]:
        way = ways[name]
        return measure_drain(
            world, "ours", way.job, size.option_jobs, 1, threads=way.threads, **way.env
        )

    found = alternate_rounds(size.rounds, list(ways), measure)
    first, *others = ways
    return [
        compare_with_peer(
            f"drain, {way}{what}", found[way][key], unit, f"with {first}", found[first][key]
        )
        for way in others
        for what, key, unit in DRAIN_FIGURES
    ]


def plural_ending(number: int) -> str:
    """Return the plural ending for a number."""
    return "" if number == 1 else "s"
