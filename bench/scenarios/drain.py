"""How fast a worker drains a full queue."""

from bench.measurement import Measurement, alternate_rounds, compare_with_peer, report_alone
from bench.processes import TICK_S
from bench.size import Size
from bench.world import THREADS, World, pause_between_rounds

WITHIN_S = 240.0
WARM_UP_SHARE = 0.1
"""CPU is counted after this share of the jobs, because the first ones find caches cold."""
PEERS = ("ours", "lean", "stock", "stock quorum", "celery threads", "celery prefork", "raw")


def drain(world: World, size: Size) -> list[Measurement]:
    """Queue jobs that do nothing, then start a worker of one process, and one of two."""
    made = []
    for processes in size.processes:
        peers = [peer for peer in PEERS if peer != "raw" or processes == 1]
        found = alternate_rounds(
            size.rounds,
            peers,
            lambda peer, p=processes: measure_drain(world, peer, "noop", size.drain_jobs, p),
        )
        made += compare_peers(processes, found)
    return made


def compare_peers(processes: int, found: dict[str, dict[str, float]]) -> list[Measurement]:
    """Compare Workshed with its peers."""
    rate = {peer: figures["rate"] for peer, figures in found.items()}
    cpu = {peer: figures["cpu"] for peer, figures in found.items()}
    first = processes == 1
    made = []
    for peer, stock, celery, most in (
        ("ours", 2.0 if first else 2.5, 3.0, 130.0),
        ("lean", 2.8 if first else 3.3, 5.0, 90.0),
    ):
        name = f"no-op drain -p {processes}, {'every middleware' if peer == 'ours' else 'lean'}"
        made += [
            compare_with_peer(name, rate[peer], "jobs/s", "stock", rate["stock"], at_least=stock),
            compare_with_peer(
                name, rate[peer], "jobs/s", "stock, quorum and confirms", rate["stock quorum"]
            ),
            compare_with_peer(
                name,
                rate[peer],
                "jobs/s",
                "celery threads",
                rate["celery threads"],
                at_least=celery,
            ),
            compare_with_peer(name, rate[peer], "jobs/s", "celery prefork", rate["celery prefork"]),
            report_alone(f"{name}, CPU", cpu[peer], "µs/job", at_most=most),
        ]
        made += [
            compare_with_peer(f"{name}, CPU", cpu[peer], "µs/job", other, cpu[other])
            for other in ("stock", "celery threads", "celery prefork")
        ]
        if first:
            least = 0.4 if peer == "lean" else None
            made.append(
                compare_with_peer(
                    name, rate[peer], "jobs/s", "raw pika", rate["raw"], at_least=least
                )
            )
    return made


def naps(world: World, size: Size) -> list[Measurement]:
    """Queue jobs that take 5 ms each; 16 threads can do at most 3 200 a second."""
    peers = ("ours", "stock", "celery threads")
    found = alternate_rounds(
        size.rounds, peers, lambda peer: measure_drain(world, peer, "nap", size.nap_jobs, 2)
    )
    ours, name = found["ours"], "5 ms jobs -p 2"
    return [
        compare_with_peer(f"{name}{what}", ours[figure], unit, peer, found[peer][figure])
        for peer in peers[1:]
        for what, figure, unit in (("", "rate", "jobs/s"), (", CPU", "cpu", "µs/job"))
    ]


def measure_drain(
    world: World,
    peer: str,
    job: str,
    count: int,
    processes: int,
    *,
    threads: int = THREADS,
    **env: str,
) -> dict[str, float]:
    """Fill the queue and drain it; return jobs per second and CPU per job in µs.

    A worker's first jobs wait until all of its processes have booted, so that no boot is counted.
    """
    world.reset()
    if peer == "raw":
        world.send("raw window", "many", count)
    else:
        world.send(peer, "many", count, job, **env)
    pause_between_rounds()
    with world.run_worker(peer, processes, threads, gated=True, **env) as (tree, marks):
        tree.wait_until_idle(WITHIN_S)
        marks.gate.open()
        tree.wait_until(lambda: marks.count >= count * WARM_UP_SHARE, WITHIN_S)
        before, began = tree.cpu_s(), marks.count
        tree.wait_until(lambda: marks.count >= count, WITHIN_S)
        cpu = max(tree.cpu_s() - before, TICK_S) / max(1, count - began)
    return {"rate": marks.rate(), "cpu": cpu * 1e6}
