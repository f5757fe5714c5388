"""What each option costs."""

from bench.measurement import Measurement, alternate_rounds, compare_with_peer, report_alone
from bench.scenarios.drain import measure_drain
from bench.size import Size
from bench.world import World

WITHIN_S = 240.0


def options(world: World, size: Size) -> list[Measurement]:
    """Drain the same jobs with and without each option."""
    ways: dict[str, tuple[str, dict[str, str]]] = {
        "all": ("noop", {}),
        "without runs": ("noop", {"WORKSHED_HISTORY": "none"}),
        "without metrics": ("noop", {"WORKSHED_METRICS": "false"}),
        "once": ("once", {}),
        "unique": ("unique", {}),
        "limit": ("concurrent", {}),
    }

    def measure(way: str) -> dict[str, float]:
        job, env = ways[way]
        return measure_drain(world, "ours", job, size.option_jobs, 1, **env)

    found = alternate_rounds(size.rounds, list(ways), measure)
    rate = {way: figures["rate"] for way, figures in found.items()}
    made = [
        compare_with_peer(
            "runs, drain with them",
            rate["all"],
            "jobs/s",
            "without",
            rate["without runs"],
            at_least=0.85,
        ),
        compare_with_peer(
            "metrics, drain with them", rate["all"], "jobs/s", "without", rate["without metrics"]
        ),
        compare_with_peer(
            "once, drain", rate["once"], "jobs/s", "without", rate["all"], at_least=0.5
        ),
        compare_with_peer(
            "unique, drain", rate["unique"], "jobs/s", "without", rate["all"], at_least=0.3
        ),
        compare_with_peer("limit, drain", rate["limit"], "jobs/s", "without", rate["all"]),
    ]
    return made + _measure_unique(world, size) + _measure_limits(world, size)


def _measure_unique(world: World, size: Size) -> list[Measurement]:
    def measure(job: str) -> dict[str, float]:
        world.reset()
        with world.run_worker("ours", 1) as (tree, marks):
            sent = world.send("ours", "one", size.slow_sends, job)
            count = size.slow_sends
            tree.wait_until(lambda: marks.count >= count, WITHIN_S)
            marks.path.write_bytes(b"")
            world.send("ours", "paced", size.paced_sends, job)
            tree.wait_until(lambda: marks.count >= size.paced_sends, WITHIN_S)
        late = marks.latency_ms()
        return {"send_ms": sent.seconds / sent.count * 1000, "p50": late.p50}

    found = alternate_rounds(size.rounds, ("noop", "unique"), measure)
    added = found["unique"]["send_ms"] - found["noop"]["send_ms"]
    return [
        report_alone("unique, added to send", added, "ms", at_most=1.5),
        report_alone("unique, enqueue to start, p50", found["unique"]["p50"], "ms", at_most=3),
    ]


def _measure_limits(world: World, size: Size) -> list[Measurement]:
    """Drain the same jobs with one thread, so that no concurrency hides what each waits for."""

    def measure(job: str) -> dict[str, float]:
        found = measure_drain(world, "ours", job, size.slow_sends, 1, threads=1)
        return {"each_ms": 1000 / found["rate"]}

    found = alternate_rounds(size.rounds, ("noop", "concurrent", "bucket"), measure)
    plain = found["noop"]["each_ms"]
    return [
        report_alone(
            "limit on those that run, added to a job",
            found["concurrent"]["each_ms"] - plain,
            "ms",
            at_most=1,
        ),
        report_alone(
            "limit on starts, added to a job", found["bucket"]["each_ms"] - plain, "ms", at_most=1
        ),
    ]
