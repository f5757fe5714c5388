"""`python -m bench.jobs.counted MODULE PARTS`: a worker whose instructions are counted in parts.

Under callgrind, a call of `os.getloadavg` ends a part (`bench.callgrind`). The first part is the
start, the second a fixed loop of Python, the third the first jobs. Each of those that follow has
`PART_JOBS` jobs, and the same work for them, whatever else the machine does:

- Jobs arrive and are acked in portions of half the prefetch. The first job of a portion waits until
  RabbitMQ has sent all that the prefetch allows. So neither the number of reads and writes nor the
  switches of threads depend on which process is faster.
- What happens by time in a worker happens by number here: at the end of each part the history is
  written, the metrics are flushed and the garbage is collected. Everything else happens seldom.
"""

import gc
import importlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import dramatiq

from bench.jobs.fixed_loop import run_fixed_loop

PREFETCH = 16
"""For `BENCH_PREFETCH`. A busy worker acks about half as many jobs in a millisecond."""
PORTION = PREFETCH // 2
PART_JOBS = 256
FIRST = 2
"""The job that begins the first portion: the ack of the first job is sent alone."""
SELDOM_S = 3_600.0
WITHIN_S = 120.0
POLL_S = 0.1
SWITCH_S = 10.0
"""A thread keeps the interpreter until it waits."""
INTERVALS = {
    "workshed.health.status": ("EVERY_S",),
    "workshed.metrics.buffer": ("EVERY_S",),
    "workshed.middleware.concurrency.lease_renewal": ("EVERY_S",),
    "workshed.middleware.observability.history_writer": ("LOOK_S",),
    "workshed.middleware.runtime.parent_watch": ("LOOK_S",),
    "workshed.transport.amqp.connection": ("TICK_S",),
    "workshed.transport.consuming.consumer": ("FLUSH_S",),
    "workshed.transport.worker.control": ("POLL_S",),
    "workshed.transport.worker.heartbeat": ("EVERY_S",),
    "workshed.transport.worker.watchdog": ("POLL_S",),
}
"""What happens by time, by module."""


class JobCounter:
    """Counts the jobs of this process, lets them wait for their portion, and ends the parts."""

    def __init__(self, jobs: int) -> None:
        """Expect so many jobs in the queue."""
        self.all_started = threading.Event()
        self._jobs = jobs
        self._started = self._received = self._awaited = 0
        self._lock = threading.Lock()
        self._arrival = threading.Lock()
        self._arrival.acquire()

    def count_received(self, count: int) -> None:
        """Count jobs that arrived, and wake the one that waits for them."""
        with self._lock:
            self._received += count
            if 0 < self._awaited <= self._received:
                self._awaited = 0
                self._arrival.release()

    def start_job(self, _sent_ns: int) -> None:
        """Begin a portion or end a part, if this job is the one to do so."""
        number = self._started = self._started + 1
        if number % PORTION == FIRST:
            self._wait_for_portion(number - 1)
            if number > PART_JOBS and number % PART_JOBS == FIRST:
                end_part()
        if number == self._jobs:
            self.all_started.set()

    def _wait_for_portion(self, acked: int) -> None:
        with self._lock:
            expected = min(acked + PREFETCH, self._jobs)
            if self._received >= expected:
                return
            self._awaited = expected
        if not self._arrival.acquire(timeout=WITHIN_S):
            give_up(f"{self._received} of {expected} jobs arrived")


def main(module: str, parts: int) -> None:
    """Run the jobs of so many parts; then stop the worker."""
    gc.disable()
    counter = JobCounter(count_jobs(parts))
    actors: Any = importlib.import_module(module)
    actors.record_start = counter.start_job
    count_arrivals(counter)
    lengthen_intervals()
    broker = dramatiq.get_broker()
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, worker_threads=1)
    os.getloadavg()
    run_fixed_loop()
    os.getloadavg()
    worker.start()
    counter.all_started.wait()
    worker.stop()
    broker.close()


def count_jobs(parts: int) -> int:
    """Return how many jobs fill so many parts, with those before and after them."""
    return PART_JOBS * (parts + 1) + 2 * PREFETCH


def lengthen_intervals() -> None:
    """Let nothing happen by time."""
    sys.setswitchinterval(SWITCH_S)
    for name, constants in INTERVALS.items():
        module = importlib.import_module(name)
        for constant in constants:
            if not hasattr(module, constant):
                raise AttributeError(f"{name} has no {constant}; update INTERVALS")
            setattr(module, constant, SELDOM_S)


def count_arrivals(counter: JobCounter) -> None:
    """Let the counter know of the jobs that the work queue gets."""
    queue: Any = importlib.import_module("workshed.transport.consuming.work_queue").WorkQueue
    put_all = queue.put_all

    def put_and_count(self: Any, items: Sequence[Any]) -> None:
        put_all(self, items)
        counter.count_received(len(items))

    queue.put_all = put_and_count


def end_part() -> None:
    """Do what a worker does from time to time; then let callgrind begin another part."""
    for middleware in dramatiq.get_broker().middleware:
        match type(middleware).__name__:
            case "History":
                write_history(middleware)
            case "Metrics":
                middleware._buffer.flush()  # type: ignore[attr-defined]  # noqa: SLF001 -- no other way
    gc.collect()
    gc.freeze()  # so that each collection looks only at what its part has made
    os.getloadavg()


def write_history(history: Any) -> None:
    """Let its thread write the runs of this part, and wait until it has."""
    history.writer._thread.wake()  # noqa: SLF001 -- no other way
    deadline = time.monotonic() + WITHIN_S
    while history.writer._queue:  # noqa: SLF001 -- no other way
        if time.monotonic() > deadline:
            give_up("the history was not written")
        time.sleep(POLL_S)


def give_up(reason: str) -> None:
    """End the process from any thread."""
    print(reason, file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
