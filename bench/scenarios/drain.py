"""How fast a worker drains a full queue."""

import sys
from collections.abc import Callable, Mapping

from bench import sidekiq
from bench.measurement import Measurement, alternate_rounds, compare_with_peer, report_alone
from bench.processes import TICK_S
from bench.size import Size
from bench.world import THREADS, World, pause_between_rounds

WITHIN_S = 240.0
WARM_UP_SHARE = 0.1
"""CPU is counted after this share of the jobs, because the first ones find caches cold."""
PEERS = ("ours", "lean", "stock", "stock quorum", "celery threads", "celery prefork",
         "sidekiq", "sidekiq durable", "procrastinate", "taskiq async", "taskiq sync",
         "raw")  # fmt: skip
TITLES = {
    "stock quorum": "stock, quorum and confirms",
    "sidekiq": "sidekiq not durable",
    "raw": "raw pika",
}
"""Names of peers in the results, where they say more."""
FEWER_JOBS = {"procrastinate": 5}
"""Peers that are given so many times fewer jobs, because all of them would take minutes."""
RATE_TARGETS = {
    ("ours", 1): {"stock": 2.2, "celery threads": 3.0, "sidekiq": 0.75, "sidekiq durable": 1.1},
    ("ours", 2): {"stock": 2.5, "celery threads": 3.0},
    ("lean", 1): {"stock": 3.3, "celery threads": 5.0, "sidekiq": 1.0, "raw": 0.4},
    ("lean", 2): {"stock": 3.3, "celery threads": 5.0},
}
"""The least ratio to each peer, by what is compared and the number of processes."""
CPU_TARGETS_US = {"ours": 80.0, "lean": 50.0}
LEAST_NAP_RATE, MOST_NAP_CPU = 1.1, 0.8
"""Targets for jobs that wait, compared with stock."""
CPU_FIGURES = {"cpu": "CPU", "cpu_with_servers": "CPU with servers"}


def drain(world: World, size: Size) -> list[Measurement]:
    """Queue jobs that do nothing, then start a worker of one process, and one of two."""
    made = []
    for processes in size.processes:
        found = alternate_rounds(
            size.rounds,
            list_peers(world, processes),
            lambda peer, p=processes: measure_drain(world, peer, "noop", size.drain_jobs, p),
        )
        made += compare_peers(processes, found)
    return made


def list_peers(world: World, processes: int) -> list[str]:
    """Return the peers that can be measured here with so many processes."""
    left_out = set() if processes == 1 else {"raw"}
    if not world.redis:
        print(sidekiq.NOT_INSTALLED, file=sys.stderr)
        left_out |= sidekiq.SETTINGS.keys()
    return [peer for peer in PEERS if peer not in left_out]


def compare_peers(processes: int, found: Mapping[str, Mapping[str, float]]) -> list[Measurement]:
    """Compare Workshed with its peers."""
    return [
        one
        for ours, title in (("ours", "every middleware"), ("lean", "lean"))
        for one in compare_one(f"no-op drain -p {processes}, {title}", ours, processes, found)
    ]


def compare_one(
    name: str, ours: str, processes: int, found: Mapping[str, Mapping[str, float]]
) -> list[Measurement]:
    """Compare one of our workers with each peer: rate, CPU, and CPU with that of the servers."""
    own = found[ours]
    peers = {peer: found[peer] for peer in found if peer not in ("ours", "lean")}
    targets = RATE_TARGETS[ours, processes]
    made = [
        compare_with_peer(
            name, own["rate"], "jobs/s", title_of(peer), their["rate"], at_least=targets.get(peer)
        )
        for peer, their in peers.items()
    ]
    most = CPU_TARGETS_US[ours]
    made.append(report_alone(f"{name}, CPU", own["cpu"], "µs/job", at_most=most))
    for figure, what in CPU_FIGURES.items():
        made += [
            compare_with_peer(
                f"{name}, {what}", own[figure], "µs/job", title_of(peer), their[figure]
            )
            for peer, their in peers.items()
            if peer != "raw"
        ]
    return made


def title_of(peer: str) -> str:
    """Return the name of a peer in the results."""
    return TITLES.get(peer, peer)


def naps(world: World, size: Size) -> list[Measurement]:
    """Queue jobs that take 5 ms each; 16 threads can do at most 3 200 a second."""
    peers = ("ours", "stock", "celery threads")
    found = alternate_rounds(
        size.rounds, peers, lambda peer: measure_drain(world, peer, "nap", size.nap_jobs, 2)
    )
    ours, name = found["ours"], "5 ms jobs -p 2"
    made = []
    for peer in peers[1:]:
        their, is_stock = found[peer], peer == "stock"
        least, most = (LEAST_NAP_RATE, MOST_NAP_CPU) if is_stock else (None, None)
        made += [
            compare_with_peer(name, ours["rate"], "jobs/s", peer, their["rate"], at_least=least),
            compare_with_peer(
                f"{name}, CPU", ours["cpu"], "µs/job", peer, their["cpu"], at_most=most
            ),
        ]
    return made


def measure_drain(
    world: World,
    peer: str,
    job: str,
    count: int,
    processes: int,
    *,
    threads: int = THREADS,
    prepare: Callable[[], None] | None = None,
    **env: str,
) -> dict[str, float]:
    """Fill the queue and drain it; return jobs per second and CPU per job in µs.

    A worker's first jobs wait until all of its processes have booted, so that no boot is counted.
    `prepare` is called before anything is sent.
    """
    count = max(1, count // FEWER_JOBS.get(peer, 1))
    world.reset()
    if prepare is not None:
        prepare()
    world.send("raw window" if peer == "raw" else peer, "bulk", count, job, **env)
    pause_between_rounds()
    with world.run_worker(peer, processes, threads, gated=True, **env) as (tree, marks):
        tree.wait_until_idle(WITHIN_S)
        marks.gate.open()
        tree.wait_until(lambda: marks.count >= count * WARM_UP_SHARE, WITHIN_S)
        began, before, servers_before = marks.count, tree.cpu_s(), world.all_servers_cpu_s()
        tree.wait_until(lambda: marks.count >= count, WITHIN_S)
        used, by_servers = tree.cpu_s() - before, world.all_servers_cpu_s() - servers_before
    each = 1e6 / max(1, count - began)
    return {
        "rate": marks.rate(),
        "cpu": max(used, TICK_S) * each,
        "cpu_with_servers": max(used + by_servers, TICK_S) * each,
    }
