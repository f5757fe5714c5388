"""How the cost of a job grows with threads, queues, message size and prefetch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.measurement import Measurement, alternating, beside
from bench.scenarios.drain import drained
from bench.size import Size
from bench.world import THREADS, World

FIGURES = (("", "rate", "jobs/s"), (", CPU", "cpu", "µs/job"))


@dataclass(frozen=True)
class Way:
    """One of several ways to drain the same number of jobs."""

    job: str = "noop"
    threads: int = THREADS
    env: Mapping[str, str] = field(default_factory=dict)


def growth(world: World, size: Size) -> list[Measurement]:
    """Drain with more of each, with every middleware on; compare with the least of each."""
    threads = {f"{n} thread{plural(n)}": Way(threads=n) for n in (1, 8, 32)}
    queues = {
        f"{n} queue{plural(n)}": Way("everywhere", env={"BENCH_QUEUES": str(n)}) for n in (1, 8)
    }
    sizes = {
        f"{n} bytes": Way("padded", env={"BENCH_PADDING": str(n)})
        for n in (100, 1_000, 10_000, 60_000)
    }
    held = {f"prefetch {n}": Way(env={"BENCH_PREFETCH": str(n)}) for n in (8, 16, 64, 128, 512)}
    return [one for ways in (threads, queues, sizes, held) for one in compared(world, size, ways)]


def compared(world: World, size: Size, ways: Mapping[str, Way]) -> list[Measurement]:
    """Measure several ways, and compare each with the first."""

    def measure(name: str) -> dict[str, float]:
        way = ways[name]
        return drained(world, "ours", way.job, size.options, 1, threads=way.threads, **way.env)

    found = alternating(size.rounds, list(ways), measure)
    first, *others = ways
    return [
        beside(f"drain, {way}{what}", found[way][key], unit, f"with {first}", found[first][key])
        for way in others
        for what, key, unit in FIGURES
    ]


def plural(number: int) -> str:
    """Return the plural ending for a number."""
    return "" if number == 1 else "s"
