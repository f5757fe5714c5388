"""`python -m bench.instructions_limit`: check that a job costs no more instructions than before.

The exit code is 1 if the cost is not within 3 % of the committed figure, in either direction.
"""

import argparse
import statistics
from collections.abc import Sequence

from bench.callgrind import count_parts
from bench.instructions_limit.figures import (
    JobCost,
    compare,
    describe_interpreter,
    read_figures,
    write_figure,
)
from bench.jobs.counted import PART_JOBS, PREFETCH, count_jobs
from bench.jobs.fixed_loop import ROUNDS
from bench.processes import BenchError
from bench.world import World, start_servers

PARTS = 5
OTHER_PARTS = 4
"""The start, the fixed loop, the first jobs, and the end."""
AGAIN = 2
"""Further runs, before a figure is stored or the check fails."""


def main() -> int:
    """Measure; then compare, or store."""
    words = build_parser().parse_args()
    interpreter, figures = describe_interpreter(), read_figures()
    with start_servers() as world:
        costs = [measure_job(world)]
        if words.write or not compare(interpreter, costs[0], figures).is_ok:
            costs += [measure_job(world) for _ in range(AGAIN)]
        costs += [measure_job(world) for _ in range(words.repeat - len(costs))]
    cost = take_median(costs)
    if words.write:
        write_figure(interpreter, cost)
        print(f"stored for {interpreter}: {cost}")
        return 0
    verdict = compare(interpreter, cost, figures)
    print(verdict.text)
    return 0 if verdict.is_ok else 1


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.instructions_limit", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the figure instead")
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        metavar="N",
        help="measure at least N times, and take the median; a figure is stored, and the check "
        f"fails, only after {1 + AGAIN}",
    )
    return parser


def take_median(costs: Sequence[JobCost]) -> JobCost:
    """Return the cost in the middle."""
    return sorted(costs, key=lambda cost: cost.ratio)[len(costs) // 2]


def measure_job(world: World) -> JobCost:
    """Count the instructions of no-op jobs with every middleware, on real servers."""
    world.reset()
    world.send("ours", "bulk", count_jobs(PARTS))
    found = count_parts(
        ["-m", "bench.jobs.counted", "bench.jobs.ours", str(PARTS)],
        world.environment("ours", BENCH_PREFETCH=str(PREFETCH)),
    )
    if len(found) != PARTS + OTHER_PARTS:
        raise BenchError(f"callgrind counted {len(found)} parts, not {PARTS + OTHER_PARTS}")
    _, loop, _, *parts, _ = found
    cost = JobCost(round(statistics.median(parts) / PART_JOBS), round(loop / ROUNDS))
    print(f"a no-op job costs {cost}", flush=True)
    return cost


if __name__ == "__main__":
    raise SystemExit(main())
