"""`python -m bench.jobs.one_process MODULE COUNT`: a worker of one process and one thread.

For tools that count instructions, which run Python about fifty times as slowly: intervals are that
much longer here. Otherwise each job would have a flush of acks, a poll and a switch of threads of
its own, which jobs at full speed share.
"""

import importlib
import sys
import time

import dramatiq

from bench.jobs.recording import count_marks

SLOWDOWN = 50
INTERVALS = {
    "workshed.health.status": ("EVERY_S",),
    "workshed.metrics.buffer": ("EVERY_S",),
    "workshed.middleware.observability.history_writer": ("LOOK_S",),
    "workshed.transport.consuming.consumer": ("FLUSH_S",),
    "workshed.transport.consuming.work_queue": (
        *("CHECK_S", "STALL_S", "BUSY_STALL_S", "IDLE_S"),
        "MIN_SINGLE_THREADED_S",
    ),
    "workshed.transport.worker.control": ("POLL_S",),
    "workshed.transport.worker.watchdog": ("POLL_S",),
}
"""Intervals of a busy worker, by module."""
POLL_S = 0.1


def main(module: str, count: int) -> None:
    """Run jobs of a module until so many have started; then stop the worker."""
    importlib.import_module(module)
    if module != "bench.jobs.stock":
        lengthen_intervals()
    sys.setswitchinterval(sys.getswitchinterval() * SLOWDOWN)
    broker = dramatiq.get_broker()
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, worker_threads=1)
    worker.start()
    while count_marks() < count:
        time.sleep(POLL_S)
    worker.stop()
    broker.close()


def lengthen_intervals() -> None:
    """Make Workshed's intervals as much longer as everything is slower."""
    for name, constants in INTERVALS.items():
        found = importlib.import_module(name)
        for constant in constants:
            setattr(found, constant, getattr(found, constant) * SLOWDOWN)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
