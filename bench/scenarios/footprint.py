"""What an idle worker occupies."""

import time

from bench.measurement import Measurement, alternate_rounds, compare_with_peer, report_alone
from bench.scenarios.relay import INSERT_JOBS
from bench.size import Size
from bench.world import World

WITHIN_S = 240.0
READY = "Worker process is ready for action."
MEBIBYTE = 1 << 20
BOOT_S = 2.0
"""After a worker says that it is ready, its relay and its page may still be booting."""
BOTH_ATTEMPTS = 2
WAIT_MS = 1_000
"""Backoff between the attempts of the failing job."""


def footprint(world: World, size: Size) -> list[Measurement]:
    """Measure connections and memory of one worker process with 1 and with 8 queues."""
    made = []
    for queues in (1, 8):

        def measure(peer: str, queues: int = queues) -> dict[str, float]:
            with world.run_worker(peer, 1, BENCH_QUEUES=str(queues), WORKSHED_LOG_LEVEL="INFO") as (
                tree,
                _,
            ):
                tree.wait_until(lambda: READY in tree.read_log_end(), WITHIN_S)
                time.sleep(size.idle_s)
                connections = float(world.count_connections())
                return {"connections": connections, "memory": tree.memory_bytes() / MEBIBYTE}

        found = alternate_rounds(size.rounds, ("ours", "stock"), measure)
        ours, stock = found["ours"], found["stock"]
        name = f"with {queues} queue{'s' if queues > 1 else ''}"
        # The worker has two (the one for sending is opened by its first job), its relay has one.
        made += [
            report_alone(f"AMQP connections {name}", ours["connections"], "connections", at_most=3),
            compare_with_peer(
                f"AMQP connections {name}",
                ours["connections"],
                "connections",
                "stock",
                stock["connections"],
            ),
            compare_with_peer(f"memory {name}", ours["memory"], "MiB", "stock", stock["memory"]),
        ]
    return made


def idle(world: World, size: Size) -> list[Measurement]:
    """Schedule very many jobs for tomorrow: what they cost, and whether they delay a retry."""

    def measure(kind: str) -> dict[str, float]:
        world.reset()
        if kind == "many":
            with world.connect_database() as conn:
                conn.execute(INSERT_JOBS, ("1 day", size.idle_rows))
                conn.execute("VACUUM ANALYZE workshed.schedule")
        with world.run_worker("ours", 1, WORKSHED_LOG_LEVEL="INFO") as (tree, marks):
            tree.wait_until(lambda: READY in tree.read_log_end(), WITHIN_S)
            time.sleep(BOOT_S)
            cpu, memory = tree.measure_cpu_share(size.idle_s) * 100, tree.memory_bytes() / MEBIBYTE
            world.send("ours", "paced", 1, "fail")
            tree.wait_until(lambda: marks.count == BOTH_ATTEMPTS, WITHIN_S)
        (_, first), (_, second) = marks.pairs()
        return {"cpu": cpu, "memory": memory, "late": (second - first) / 1e6 - WAIT_MS}

    found = alternate_rounds(size.rounds, ("none", "many"), measure)
    none, many = found["none"], found["many"]
    rows = f"{size.idle_rows:,} scheduled rows".replace(",", " ")
    return [
        compare_with_peer(
            f"idle worker with {rows}, memory",
            many["memory"],
            "MiB",
            "with none",
            none["memory"],
            at_most=1.1,
        ),
        compare_with_peer(
            f"idle worker with {rows}, CPU",
            many["cpu"],
            "% of a core",
            "with none",
            max(none["cpu"], 0.1),
        ),
        report_alone(f"a retry after 1 s behind {rows}, late", many["late"], "ms", at_most=40),
    ]
