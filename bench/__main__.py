"""`python -m bench`: measure, print a table or JSON, keep both and a plot in `bench-results/`."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pika

from bench import report
from bench.capacity import figures
from bench.measurement import Measurement
from bench.scenarios import OPTIONAL_SCENARIOS, SCENARIOS, SLOW_SCENARIOS
from bench.size import FULL, QUICK, SMOKE, Size
from bench.world import QUORUM, World, start_servers

RESULTS = Path("bench-results")


def main() -> int:
    """Run the requested scenarios; the exit code is 1 if one of their targets is missed."""
    wanted = parse_arguments()
    names = wanted.only or default_scenarios(wanted)
    found: list[Measurement] = []
    with start_servers() as world:
        surroundings = report.describe_surroundings(*read_versions(world))
        for name in names:
            found += run_scenario(world, name, choose_size(wanted))
            if wanted.capacity:  # it takes long: keep results despite a later error
                figures.store_figures(found, surroundings)
    RESULTS.mkdir(exist_ok=True)
    written = report.as_json(found, surroundings)
    (RESULTS / "bench.json").write_text(written + "\n")
    report.draw_plot(found, RESULTS / "bench.png")
    said = " · ".join(f"{name} {value}" for name, value in surroundings.items())
    print(written if wanted.json else f"{report.as_table(found)}\n\n{said}")
    return 0 if wanted.smoke or all(one.met is not False for one in found) else 1


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--quick", action="store_true", help="one round with few jobs, about 5 minutes"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="only check that it runs; figures are meaningless"
    )
    parser.add_argument(
        "--processes",
        type=int,
        action="append",
        help="worker processes of the drain; repeatable, default: 1, and 2 in a full run",
    )
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="repeatable")
    parser.add_argument(
        "--capacity",
        action="store_true",
        help="measure what the model of docs/capacity.md needs, and store it for the model; "
        "as root this includes two hosts",
    )
    return parser.parse_args()


def default_scenarios(options: argparse.Namespace) -> Sequence[str]:
    """Return the scenarios to run when none is named."""
    if options.capacity:
        return (*figures.SCENARIOS, *(figures.ROOT_SCENARIOS if os.geteuid() == 0 else ()))
    left_out = (*OPTIONAL_SCENARIOS, *(SLOW_SCENARIOS if options.quick else ()))
    return [name for name in SCENARIOS if name not in left_out]


def choose_size(options: argparse.Namespace) -> Size:
    """Return how much to measure; the model needs single worker processes only."""
    found = SMOKE if options.smoke else QUICK if options.quick else FULL
    if options.capacity:
        return replace(found, processes=(1,))
    return replace(found, processes=tuple(options.processes)) if options.processes else found


def run_scenario(world: World, name: str, size: Size) -> list[Measurement]:
    """Run one scenario, and report progress on stderr."""
    began = time.perf_counter()
    print(f"{name} …", end=" ", file=sys.stderr, flush=True)
    found = SCENARIOS[name](world, size)
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def read_versions(world: World) -> tuple[str, str]:
    """Return the versions of RabbitMQ and PostgreSQL."""
    connection = pika.BlockingConnection(pika.URLParameters(world.url(QUORUM)))
    rabbitmq = str(connection._impl.server_properties["version"])  # noqa: SLF001 -- nowhere else
    connection.close()
    with world.connect_database() as conn:
        return rabbitmq, str(conn.info.server_version // 10_000)


if __name__ == "__main__":
    raise SystemExit(main())
