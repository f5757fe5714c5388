"""Measure in the workers of every `dramatiq` master, and show their numbers beside them."""

import multiprocessing
import os
import sys
from collections.abc import Callable

from dramatiq.middleware import Middleware

from brokers.relay_fork import Supervisor
from workshed.metrics import folders, meter
from workshed.settings import Settings, multiprocess_folder


class MetricsFork(Middleware):
    """Ask the master for a fork that supervises what answers `/metrics`."""

    def __init__(self, *, wanted: bool) -> None:
        """Ask for none where it is not `wanted`: whoever named a folder shows it."""
        self._wanted = wanted

    @property
    def forks(self) -> list[Callable[[], int]]:
        """Fork once per master."""
        return [supervise_metrics] if self._wanted else []


def supervise_metrics() -> int:
    """Restart the exporter whenever it dies; end it, and then itself, on SIGTERM."""
    master = os.getppid()
    folder = folders.gather(master)
    if folder is None:
        return 0  # nothing is measured
    return Supervisor("the exporter", ["brokers.exporter", str(folder)]).keep(master)


def measure(config: Settings) -> None:
    """Measure in this process, if it is to; the workers of a master in a folder they share.

    A program that only sends uses its own registry, so that its own `/metrics` shows our numbers.
    """
    meter.switch(on=config.metrics)
    if not config.metrics:
        return
    folder = multiprocess_folder()
    master = multiprocessing.parent_process()
    # So a web server's processes are none, though `multiprocessing` may have started them.
    if folder is None and master and "dramatiq.cli" in sys.modules:
        folder = folders.gather(int(master.pid or 0))
        meter.switch(on=folder is not None)
    if folder is not None:
        meter.switch(on=folders.join(folder))
