"""Measure in the workers of every `dramatiq` master, and show numbers and probes beside them."""

import multiprocessing
import sys
from collections.abc import Callable

from dramatiq.middleware import Middleware

from workshed.health import shared_folder
from workshed.metrics import meter
from workshed.parent import parent_pid
from workshed.settings import Settings, multiprocess_folder
from workshed.transport.sidecars.relay_fork import ChildSupervisor


class MetricsFork(Middleware):
    """Ask the master for a fork that supervises what answers `/livez`, `/readyz` and `/metrics`."""

    def __init__(self, *, wanted: bool) -> None:
        """Ask for none where it is not `wanted`: there is nothing to answer."""
        self._wanted = wanted

    @property
    def forks(self) -> list[Callable[[], int]]:
        """Fork once per master."""
        return [supervise_metrics] if self._wanted else []


def supervise_metrics() -> int:
    """Restart the exporter whenever it dies; end it, and then itself, on SIGTERM."""
    folder = shared_folder.folder_for_master(parent_pid())
    if folder is None:
        return 0  # there is nothing to read
    return ChildSupervisor(
        "the exporter", ["workshed.transport.sidecars.exporter", str(folder)]
    ).keep()


def enable_metrics(config: Settings) -> None:
    """Measure in this process, if it is to; the workers of a master in a folder they share.

    A program that only sends uses its own registry, so that its own `/metrics` shows our numbers.
    """
    meter.switch_on(on=config.metrics)
    # So a web server's processes are none, though `multiprocessing` may have started them.
    master = multiprocessing.parent_process() if "dramatiq.cli" in sys.modules else None
    if master and config.shared_folder is None and config.shows:
        found = shared_folder.folder_for_master(int(master.pid or 0))
        meter.switch_on(on=config.metrics and found is not None)
    folder = multiprocess_folder()
    if config.metrics and folder is not None:
        meter.switch_on(on=shared_folder.join_folder(folder))
