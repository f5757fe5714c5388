"""How fast a process sends."""

from bench.measurement import Measurement, alternating, beside
from bench.size import Size
from bench.world import World, settle

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
}
BULK = ("many",)


def enqueue(world: World, size: Size) -> list[Measurement]:
    """Send one by one, from threads, and in bulk."""

    def measure(name: str) -> dict[str, float]:
        peer, way = WAYS[name]
        count = size.sent_quickly if way == "many" else size.sent_slowly
        sent = world.send(peer, way, count)
        world.empty()
        settle()
        return {"rate": sent.rate, "cpu": sent.cpu_us}

    found = alternating(size.rounds, list(WAYS), measure)
    rate = {name: figures["rate"] for name, figures in found.items()}
    cpu = {name: figures["cpu"] for name, figures in found.items()}
    name, unit = "enqueue", "jobs/s"
    made = [
        beside(f"{name}, one by one", rate["ours"], unit, ONE, rate[ONE]),
        beside(f"{name}, 8 threads", rate["ours, 8 threads"], unit, ONE, rate[ONE], at_least=3),
        beside(f"{name}, 32 threads", rate["ours, 32 threads"], unit, ONE, rate[ONE], at_least=4),
    ]
    many = rate["ours, enqueue_many"]
    made += [
        beside(f"{name}_many", many, unit, ONE, rate[ONE], at_least=12),
        beside(f"{name}_many", many, unit, MANY, rate[MANY], at_least=0.9),
        beside(f"{name}_many", many, unit, "stock, no confirms", rate["stock"]),
        beside(f"{name}_many", many, unit, "celery, no confirms", rate["celery"]),
        beside(
            f"{name}, one by one", rate["ours"], unit, "stock, confirms", rate["stock, confirms"]
        ),
    ]
    eight, both = "ours, 8 threads", "stock, confirms, 8 threads"
    made += [
        beside(f"{name}, 8 threads", rate[eight], unit, both, rate[both]),
        beside(f"{name}, one by one, CPU", cpu["ours"], "µs/job", ONE, cpu[ONE]),
        beside(f"{name}, 8 threads, CPU", cpu[eight], "µs/job", both, cpu[both]),
    ]
    made += [
        beside("enqueue_many, CPU", cpu["ours, enqueue_many"], "µs/job", peer, cpu[way])
        for way, peer in ((MANY, MANY), ("stock", "stock, no confirms"), ("celery", "celery"))
    ]
    return made
