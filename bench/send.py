"""A process that sends: `python -m bench.send PEER WAY JOB COUNT`; prints its timing as JSON.

Ways: `one` (one after the other), `threads8` or `threads32` (concurrently), `many` (in bulk),
`paced` (50 a second), `delayed` (due within the next 5 s), `bulk` (`many` without a warm-up),
`stored` (each in its own transaction), `stored_many` (all in one), `batched` (all in one batch).
"""

import importlib
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.raw import RawPublisher

MODULES = {"ours": "bench.jobs.ours", "lean": "bench.jobs.lean", "stock": "bench.jobs.stock"}
WARM_UP = 50
PACE_S = 0.02
DELAYED_WITHIN_S = 5.0
SOONEST_S = 1.0
CHUNK = 10_000
COLD_WAYS = ("paced", "delayed", "bulk", "stored", "stored_many", "batched")
"""Ways that send no warm-up jobs first."""

Send = Callable[[str, int], object]
"""Sends one job: its name, and when it was sent."""


def main() -> None:
    """Send, and print how long it took and how much CPU."""
    peer, way, job, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    send, many, delayed = send_functions(peer)
    if way not in COLD_WAYS:
        for _ in range(WARM_UP):
            send("noop", time.time_ns())
    began, cpu = time.perf_counter(), time.process_time()
    match way:
        case "one":
            send_concurrently(send, job, count, 1)
        case "many" | "bulk":
            for start in range(0, count, CHUNK):
                many(job, min(CHUNK, count - start))
        case "paced":
            send_paced(send, job, count)
        case "stored" | "stored_many" | "batched":
            store = importlib.import_module("bench.jobs.stored")
            getattr(store, way)(job, count)
        case "delayed":
            for number in range(count):
                delayed(job, SOONEST_S + DELAYED_WITHIN_S * number / count)
        case _:
            send_concurrently(send, job, count, int(way.removeprefix("threads")))
    took, used = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"count": count, "seconds": took, "cpu_s": used}))


def send_paced(send: Send, job: str, count: int) -> None:
    """Send 50 a second."""
    began = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, began + number * PACE_S - time.perf_counter()))
        send(job, time.time_ns())


def send_functions(
    peer: str,
) -> tuple[Send, Callable[[str, int], object], Callable[[str, float], object]]:
    """Return how a peer sends one job, many jobs, and a delayed job (in seconds)."""
    if peer.startswith("raw"):
        raw = RawPublisher(confirming="one" if peer == "raw" else "window")
        return raw.send, raw.send_many, _refuse
    if peer in ("pgqueuer", "procrastinate", "taskiq"):
        sender = importlib.import_module(f"bench.jobs.{peer}_app")
        return lambda job, _: sender.send_many(job, 1), sender.send_many, _refuse
    if peer == "celery":
        tasks = importlib.import_module("bench.jobs.celery_app").app.tasks
        return (
            lambda job, sent_ns: tasks[job].delay(sent_ns),
            lambda job, count: [tasks[job].delay(time.time_ns()) for _ in range(count)],
            _refuse,
        )
    module = importlib.import_module(MODULES[peer])

    def one(job: str, sent_ns: int) -> object:
        return getattr(module, job).send(sent_ns)

    def many(job: str, count: int) -> object:
        if peer == "stock":
            return [one(job, time.time_ns()) for _ in range(count)]
        actors = itertools.cycle(list_actors(module, job))
        rest = ("x" * int(os.environ["BENCH_PADDING"]),) if job == "padded" else ()
        made = [next(actors).message(time.time_ns(), *rest) for _ in range(count)]
        return module.broker.enqueue_many(made)

    def delayed(job: str, seconds: float) -> object:
        due_ns = time.time_ns() + int(seconds * 1e9)
        return getattr(module, job).send_with_options(args=(due_ns,), delay=int(seconds * 1000))

    return one, many, delayed


def list_actors(module: Any, job: str) -> list[Any]:
    """Return the actor of a job; for `everywhere`, one actor on each queue."""
    if job != "everywhere":
        return [getattr(module, job)]
    actors = module.broker.actors
    return [actor for name, actor in actors.items() if name.startswith("noop")]


def send_concurrently(send: Send, job: str, count: int, threads: int) -> None:
    """Send from several threads."""

    def share() -> None:
        for _ in range(count // threads):
            send(job, time.time_ns())

    senders = [threading.Thread(target=share) for _ in range(threads)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


def _refuse(*_: Any) -> object:
    raise NotImplementedError


if __name__ == "__main__":
    main()
