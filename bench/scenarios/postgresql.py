"""Workers on PostgreSQL alone: how fast they drain it, and how soon a job starts."""

from collections.abc import Mapping

from bench.measurement import Measurement, alternate_rounds, compare_with_peer, report_alone
from bench.scenarios.drain import CPU_FIGURES, WITHIN_S, measure_drain
from bench.scenarios.latency import run_warm_worker
from bench.scenarios.relay import INSERT_JOBS
from bench.size import Size
from bench.world import World

OURS, OURS_LATER = "ours postgresql", "ours postgresql later"
PEERS = ("procrastinate", "pgqueuer")
RATE_TARGETS = {"procrastinate": 4.0}
LEAST_RATE = 2_500.0
LEAST_RATE_WITH_LATER_ROWS = 0.9
SAME_HOST, OTHER_HOST = "same host", "another host"
P50_TARGETS_MS = {SAME_HOST: 4.0, OTHER_HOST: 12.0}
P99_TARGET_MS = 60.0


def postgresql(world: World, size: Size) -> list[Measurement]:
    """Drain with every middleware, also with many later jobs, and time jobs from send to start."""
    return [*measure_rates(world, size), *measure_latencies(world, size)]


def measure_rates(world: World, size: Size) -> list[Measurement]:
    """Compare the drain with other queues in PostgreSQL, and with many jobs that are due later."""

    def store_later() -> None:
        with world.connect_database() as conn:
            conn.execute(INSERT_JOBS, ("1 day", size.later_rows))

    def measure(contender: str) -> dict[str, float]:
        prepare = store_later if contender == OURS_LATER else None
        peer = OURS if contender == OURS_LATER else contender
        return measure_drain(world, peer, "noop", size.drain_jobs, 1, prepare=prepare)

    return compare_rates(
        alternate_rounds(size.rounds, (OURS, OURS_LATER, *PEERS), measure), size.later_rows
    )


def compare_rates(found: Mapping[str, Mapping[str, float]], rows: int) -> list[Measurement]:
    """Compare with each peer: rate, CPU, and CPU with PostgreSQL's."""
    ours, name = found[OURS], "PostgreSQL alone, no-op drain -p 1"
    later = f"{rows:,} later jobs".replace(",", " ")
    made = [
        report_alone(name, ours["rate"], "jobs/s", at_least=LEAST_RATE),
        compare_with_peer(
            f"{name}, {later}",
            found[OURS_LATER]["rate"],
            "jobs/s",
            "without them",
            ours["rate"],
            at_least=LEAST_RATE_WITH_LATER_ROWS,
        ),
    ]
    for peer in PEERS:
        their, least = found[peer], RATE_TARGETS.get(peer)
        made.append(
            compare_with_peer(name, ours["rate"], "jobs/s", peer, their["rate"], at_least=least)
        )
        made += [
            compare_with_peer(f"{name}, {what}", ours[figure], "µs/job", peer, their[figure])
            for figure, what in CPU_FIGURES.items()
        ]
    return made


def measure_latencies(world: World, size: Size) -> list[Measurement]:
    """Send 50 jobs a second to an idle worker, which a sender on another host cannot wake."""
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)

    def measure(place: str) -> dict[str, float]:
        env = {"TMPDIR": str(elsewhere)} if place == OTHER_HOST else {}
        with run_warm_worker(world, OURS, 2) as (tree, marks):
            world.send(OURS, "paced", size.paced_sends, **env)
            tree.wait_until(lambda: marks.count >= size.paced_sends, WITHIN_S)
        late = marks.latency_ms()
        return {"p50": late.p50, "p99": late.p99}

    found = alternate_rounds(size.rounds, tuple(P50_TARGETS_MS), measure)
    name = "PostgreSQL alone, enqueue to start"
    return [
        one
        for where, most in P50_TARGETS_MS.items()
        for one in (
            report_alone(f"{name}, {where}, p50", found[where]["p50"], "ms", at_most=most),
            report_alone(f"{name}, {where}, p99", found[where]["p99"], "ms", at_most=P99_TARGET_MS),
        )
    ]
