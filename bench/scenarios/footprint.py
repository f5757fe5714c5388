"""What workers, a sender and a command occupy."""

import json
import sys
import time

from bench import sidekiq
from bench.measurement import (
    Measurement,
    MedianFigure,
    alternate_rounds,
    compare_with_peer,
    report_alone,
)
from bench.processes import run_python
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
WORKERS = {
    "ours": ("`dramatiq`", 1),
    "supervised": ("`workshed worker`", 1),
    "supervised two": ("`workshed worker`", 2),
    "supervised four": ("`workshed worker`", 4),
    "supervised preload four": ("`workshed worker --preload`", 4),
    "stock": ("stock `dramatiq`", 1),
    "celery threads": ("Celery, threads", 1),
    "celery prefork": ("Celery, prefork", 1),
    "sidekiq": ("Sidekiq", 1),
}
"""Workers whose memory is measured, with their numbers of processes."""
PEERS = ("stock", "celery threads", "celery prefork", "sidekiq")
FIRST_SEND = r"""
import time
began = time.perf_counter()
import bench.jobs.{module} as jobs
jobs.noop.{send}(0)
took = time.perf_counter() - began
import json, re, sys
peak = re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())
print(json.dumps({{"ms": took * 1000, "memory": int(peak[1]) / 1024, "modules": len(sys.modules)}}))
"""
"""A program that imports its jobs, and sends one."""
SENDERS = {
    "ours": FIRST_SEND.format(module="ours", send="send"),
    "stock": FIRST_SEND.format(module="stock", send="send"),
    "celery": FIRST_SEND.format(module="celery_app", send="delay"),
}
COMMAND = ("-m", "workshed")
COMPLETION = {
    "_WORKSHED_COMPLETE": "complete_bash",
    "COMP_WORDS": "workshed jo",
    "COMP_CWORD": "1",
}
"""What bash sets when a user presses Tab after `workshed jo`."""
ALONE = {"WORKSHED_APP": "bench.jobs.app:app"}
"""Without it, each process would also import the settings of the sample service."""
NO_JIT = {"RUBY_YJIT_ENABLE": "0"}
"""Ruby's JIT takes memory, and is off by default; where speed is measured, Sidekiq has it."""


def footprint(world: World, size: Size) -> list[Measurement]:
    """Measure connections and memory of workers, and what a sender and a command take."""
    return [
        *_connections(world, size),
        *_memory(world, size),
        *_first_send(world, size),
        _time_command(size, "`workshed --help`", "--help"),
        _time_command(size, "completion of a command's name", **COMPLETION),
    ]


def _connections(world: World, size: Size) -> list[Measurement]:
    made = []
    for queues in (1, 8):

        def measure(peer: str, queues: int = queues) -> dict[str, float]:
            with world.run_worker(peer, 1, BENCH_QUEUES=str(queues), WORKSHED_LOG_LEVEL="INFO") as (
                tree,
                _,
            ):
                tree.wait_until(lambda: READY in tree.read_log_end(), WITHIN_S)
                time.sleep(size.idle_s)
                return {"connections": float(world.count_connections())}

        found = alternate_rounds(size.rounds, ("ours", "stock"), measure)
        ours, stock = found["ours"]["connections"], found["stock"]["connections"]
        name = f"AMQP connections with {queues} queue{'s' if queues > 1 else ''}"
        # The worker has two (the one for sending is opened by its first job), its relay has one.
        made += [
            report_alone(name, ours, "connections", at_most=3),
            compare_with_peer(name, ours, "connections", "stock", stock),
        ]
    return made


def _memory(world: World, size: Size) -> list[Measurement]:
    """Measure the memory of each process, and of all, once they have run some jobs."""

    def measure(worker: str) -> dict[str, float]:
        peer = worker.removesuffix(" two").removesuffix(" four")
        with world.run_worker(peer, WORKERS[worker][1], **ALONE, **NO_JIT) as (tree, marks):
            world.send(peer, "bulk", size.footprint_jobs, **ALONE)
            tree.wait_until(lambda: marks.count >= size.footprint_jobs, WITHIN_S)
            time.sleep(size.idle_s)
            roles = {role: each / MEBIBYTE for role, each in tree.memory_by_role().items()}
            return {"all": sum(roles.values()), **roles}

    workers = [worker for worker in WORKERS if worker != "sidekiq" or world.redis]
    if not world.redis:
        print(sidekiq.NOT_INSTALLED, file=sys.stderr)
    found = alternate_rounds(size.rounds, workers, measure)
    one, two = found["supervised"], found["supervised two"]
    made = [
        report_alone("memory of `workshed worker -p 1 -t 8`", one["all"], "MiB", at_most=95),
        report_alone("memory of each further worker", two["all"] - one["all"], "MiB", at_most=45),
        *(
            report_alone(f"memory of its {role}", each, "MiB")
            for role, each in one.items()
            if role != "all"
        ),
        report_alone("memory of `dramatiq -p 1 -t 8`", found["ours"]["all"], "MiB"),
        compare_with_peer(
            "memory of `workshed worker --preload -p 4`",
            *(found["supervised preload four"]["all"], "MiB"),
            *("without --preload", found["supervised four"]["all"]),
        ),
    ]
    for peer in (peer for peer in PEERS if peer in found):
        title = f"memory of `workshed worker`, compared with {WORKERS[peer][0]}"
        made.append(compare_with_peer(title, one["all"], "MiB", peer, found[peer]["all"]))
    return made


def _first_send(world: World, size: Size) -> list[Measurement]:
    """Measure what a program takes to import its jobs and send the first one."""

    def measure(peer: str) -> dict[str, float]:
        said = run_python(("-c", SENDERS[peer]), world.environment(peer, **ALONE), WITHIN_S)
        figures: dict[str, float] = json.loads(said)
        return figures

    found = alternate_rounds(2 * size.rounds + 1, tuple(SENDERS), measure)
    ours = found["ours"]
    made = [
        report_alone("first send of a program", ours["ms"], "ms", at_most=200),
        report_alone("peak memory of a program that sends", ours["memory"], "MiB", at_most=40),
    ]
    for peer in ("stock", "celery"):
        theirs = found[peer]
        made += [
            compare_with_peer("first send of a program", ours["ms"], "ms", peer, theirs["ms"]),
            compare_with_peer(
                "peak memory of a program that sends", ours["memory"], "MiB", peer, theirs["memory"]
            ),
            compare_with_peer(
                "modules of a program that sends",
                *(ours["modules"], "modules", peer, theirs["modules"]),
            ),
        ]
    return made


def _time_command(size: Size, name: str, *words: str, **variables: str) -> Measurement:
    times = []
    for _ in range(2 * size.rounds + 1):
        began = time.perf_counter()
        run_python((*COMMAND, *words), {**ALONE, **variables}, WITHIN_S)
        times.append((time.perf_counter() - began) * 1000)
    return report_alone(name, MedianFigure.of(times), "ms", at_most=150)


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
