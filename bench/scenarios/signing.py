"""What it costs to sign messages."""

from bench.measurement import Measurement, alternating, beside
from bench.scenarios.drain import drained
from bench.size import Size
from bench.world import World, settle

WAYS = {"unsigned": {}, "signed": {"WORKSHED_SIGNING_KEYS": "k" * 32}}


def signing(world: World, size: Size) -> list[Measurement]:
    """Send and drain many jobs, with and without a signing key."""

    def measure(way: str) -> dict[str, float]:
        world.empty()
        sent = world.send("ours", "many", size.drained, **WAYS[way])
        settle()
        worked = drained(world, "ours", "noop", size.drained, 1, **WAYS[way])
        return {"send": sent.cpu_us, "cpu": worked["cpu"], "rate": worked["rate"]}

    found = alternating(size.rounds, list(WAYS), measure)
    signed, unsigned = found["signed"], found["unsigned"]
    return [
        beside(f"signed, {what}", signed[figure], unit, "unsigned", unsigned[figure])
        for what, figure, unit in (
            ("enqueue_many, CPU", "send", "µs/job"),
            ("no-op drain -p 1, CPU", "cpu", "µs/job"),
            ("no-op drain -p 1", "rate", "jobs/s"),
        )
    ]
