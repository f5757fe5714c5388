"""What it costs to sign messages."""

from bench.measurement import Measurement, alternate_rounds, compare_with_peer
from bench.scenarios.drain import measure_drain
from bench.size import Size
from bench.world import World, pause_between_rounds

WAYS = {"unsigned": {}, "signed": {"WORKSHED_SIGNING_KEYS": "k" * 32}}


def signing(world: World, size: Size) -> list[Measurement]:
    """Send and drain many jobs, with and without a signing key."""

    def measure(way: str) -> dict[str, float]:
        world.reset()
        sent = world.send("ours", "many", size.drain_jobs, **WAYS[way])
        pause_between_rounds()
        worked = measure_drain(world, "ours", "noop", size.drain_jobs, 1, **WAYS[way])
        return {"send": sent.cpu_us, "cpu": worked["cpu"], "rate": worked["rate"]}

    found = alternate_rounds(size.rounds, list(WAYS), measure)
    signed, unsigned = found["signed"], found["unsigned"]
    return [
        compare_with_peer(f"signed, {what}", signed[figure], unit, "unsigned", unsigned[figure])
        for what, figure, unit in (
            ("enqueue_many, CPU", "send", "µs/job"),
            ("no-op drain -p 1, CPU", "cpu", "µs/job"),
            ("no-op drain -p 1", "rate", "jobs/s"),
        )
    ]
