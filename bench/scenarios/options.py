"""What each option costs."""

from bench.measurement import Measurement, alone, alternating, beside
from bench.scenarios.drain import drained
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
        return drained(world, "ours", job, size.options, 1, **env)

    found = alternating(size.rounds, list(ways), measure)
    rate = {way: figures["rate"] for way, figures in found.items()}
    made = [
        beside(
            "runs, drain with them",
            rate["all"],
            "jobs/s",
            "without",
            rate["without runs"],
            at_least=0.85,
        ),
        beside(
            "metrics, drain with them", rate["all"], "jobs/s", "without", rate["without metrics"]
        ),
        beside("once, drain", rate["once"], "jobs/s", "without", rate["all"]),
        beside("unique, drain", rate["unique"], "jobs/s", "without", rate["all"]),
        beside("limit, drain", rate["limit"], "jobs/s", "without", rate["all"]),
    ]
    return made + _unique_sends(world, size) + _limited(world, size)


def _unique_sends(world: World, size: Size) -> list[Measurement]:
    def measure(job: str) -> dict[str, float]:
        world.empty()
        with world.worker("ours", 1) as (tree, marks):
            sent = world.send("ours", "one", size.sent_slowly, job)
            count = size.sent_slowly
            tree.until(lambda: marks.count >= count, WITHIN_S)
            marks.path.write_bytes(b"")
            world.send("ours", "paced", size.paced, job)
            tree.until(lambda: marks.count >= size.paced, WITHIN_S)
        late = marks.late_ms()
        return {"send_ms": sent.seconds / sent.count * 1000, "p50": late.p50}

    found = alternating(size.rounds, ("noop", "unique"), measure)
    added = found["unique"]["send_ms"] - found["noop"]["send_ms"]
    return [
        alone("unique, added to send", added, "ms", at_most=1.5),
        alone("unique, enqueue to start, p50", found["unique"]["p50"], "ms", at_most=3),
    ]


def _limited(world: World, size: Size) -> list[Measurement]:
    """Drain the same jobs with one thread, so that no concurrency hides what each waits for."""

    def measure(job: str) -> dict[str, float]:
        found = drained(world, "ours", job, size.sent_slowly, 1, threads=1)
        return {"each_ms": 1000 / found["rate"]}

    found = alternating(size.rounds, ("noop", "concurrent", "bucket"), measure)
    plain = found["noop"]["each_ms"]
    return [
        alone("limit on those that run, added to a job", found["concurrent"]["each_ms"] - plain,
              "ms", at_most=1),
        alone("limit on starts, added to a job", found["bucket"]["each_ms"] - plain,
              "ms", at_most=1),
    ]  # fmt: skip
