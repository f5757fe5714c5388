"""How fast a process sends."""

from bench.measurement import Measurement, alternate_rounds, compare_with_peer, report_alone
from bench.size import Size
from bench.world import World, pause_between_rounds

ONE, MANY = "raw pika, one confirm at a time", "raw pika, a window of 500"
WAYS = {
    "ours": ("ours", "one"),
    "ours, 8 threads": ("ours", "threads8"),
    "ours, 32 threads": ("ours", "threads32"),
    "ours, enqueue_many": ("ours", "many"),
    "stock": ("stock", "many"),
    "stock, confirms": ("stock quorum", "one"),
    "stock, confirms, 8 threads": ("stock quorum", "threads8"),
    "celery": ("celery", "many"),
    ONE: ("raw", "one"),
    MANY: ("raw window", "many"),
    "schedule.send": ("ours", "stored"),
    "schedule.send_many": ("ours", "stored_many"),
}
BULK = ("many", "stored_many")


def enqueue(world: World, size: Size) -> list[Measurement]:
    """Send one by one, from threads, and in bulk."""

    def measure(name: str) -> dict[str, float]:
        peer, way = WAYS[name]
        count = size.fast_sends if way in BULK else size.slow_sends
        sent = world.send(peer, way, count)
        world.reset()
        pause_between_rounds()
        return {"rate": sent.rate, "cpu": sent.cpu_us}

    found = alternate_rounds(size.rounds, list(WAYS), measure)
    rate = {name: figures["rate"] for name, figures in found.items()}
    cpu = {name: figures["cpu"] for name, figures in found.items()}
    name, unit = "enqueue", "jobs/s"
    made = [
        compare_with_peer(f"{name}, one by one", rate["ours"], unit, ONE, rate[ONE]),
        compare_with_peer(
            f"{name}, 8 threads", rate["ours, 8 threads"], unit, ONE, rate[ONE], at_least=3
        ),
        compare_with_peer(
            f"{name}, 32 threads", rate["ours, 32 threads"], unit, ONE, rate[ONE], at_least=4
        ),
    ]
    many = rate["ours, enqueue_many"]
    made += [
        compare_with_peer(f"{name}_many", many, unit, ONE, rate[ONE], at_least=12),
        compare_with_peer(f"{name}_many", many, unit, MANY, rate[MANY], at_least=0.85),
        compare_with_peer(f"{name}_many", many, unit, "stock, no confirms", rate["stock"]),
        compare_with_peer(f"{name}_many", many, unit, "celery, no confirms", rate["celery"]),
        compare_with_peer(
            f"{name}, one by one", rate["ours"], unit, "stock, confirms", rate["stock, confirms"]
        ),
    ]
    eight, both = "ours, 8 threads", "stock, confirms, 8 threads"
    made += [
        compare_with_peer(f"{name}, 8 threads", rate[eight], unit, both, rate[both]),
        compare_with_peer(f"{name}, one by one, CPU", cpu["ours"], "µs/job", ONE, cpu[ONE]),
        compare_with_peer(f"{name}, 8 threads, CPU", cpu[eight], "µs/job", both, cpu[both]),
    ]
    made += [
        compare_with_peer("enqueue_many, CPU", cpu["ours, enqueue_many"], "µs/job", peer, cpu[way])
        for way, peer in ((MANY, MANY), ("stock", "stock, no confirms"), ("celery", "celery"))
    ]
    single, stored = rate["schedule.send"], rate["schedule.send_many"]
    made += [
        compare_with_peer("schedule.send_many", stored, unit, "schedule.send", single),
        report_alone("schedule.send_many", stored, unit, at_least=20_000),
    ]
    return made
