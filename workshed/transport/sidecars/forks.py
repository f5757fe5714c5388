"""Forks that every `dramatiq` master makes: one supervises a relay, one the exporter of metrics."""

import multiprocessing
import sys
from collections.abc import Callable

from dramatiq.middleware import Middleware

from workshed.health import shared_folder
from workshed.metrics import metric
from workshed.parent import parent_pid
from workshed.settings import Settings, multiprocess_folder, settings
from workshed.transport.sidecars.supervisor import ChildSupervisor


class RelayFork(Middleware):
    """Ask the master for a fork that supervises a relay.

    dramatiq does not monitor its forks, so the fork is a supervisor.
    """

    def __init__(self, *, wanted: bool = True) -> None:
        """Ask for no fork unless `wanted`, because a relay runs elsewhere."""
        self._is_enabled = wanted

    @property
    def forks(self) -> list[Callable[[], int]]:
        """Fork once per master."""
        return [supervise_relay] if self._is_enabled else []


def supervise_relay() -> int:
    """Restart the relay whenever it dies; end it, and then itself, on SIGTERM."""
    if settings().has_endpoints:
        shared_folder.folder_for_master(parent_pid())
    return ChildSupervisor("the relay", ["workshed.transport.relay.relay"]).supervise()


class MetricsFork(Middleware):
    """Ask the master for a fork that supervises the exporter of `/livez`, `/readyz`, `/metrics`."""

    def __init__(self, *, wanted: bool) -> None:
        """Ask for no fork unless `wanted`, because there is nothing to serve."""
        self._is_enabled = wanted

    @property
    def forks(self) -> list[Callable[[], int]]:
        """Fork once per master."""
        return [supervise_metrics] if self._is_enabled else []


def supervise_metrics() -> int:
    """Restart the exporter whenever it dies; end it, and then itself, on SIGTERM."""
    folder = shared_folder.folder_for_master(parent_pid())
    if folder is None:
        return 0  # there is nothing to read
    return ChildSupervisor(
        "the exporter", ["workshed.transport.sidecars.exporter", str(folder)]
    ).supervise()


def enable_metrics(config: Settings) -> None:
    """Collect metrics in this process if they are on; workers of one master share a folder.

    A program that only sends uses its own registry, so that its own `/metrics` includes ours.
    """
    metric.set_enabled(on=config.metrics)
    # The check for `dramatiq.cli` excludes web servers that `multiprocessing` started.
    master = multiprocessing.parent_process() if "dramatiq.cli" in sys.modules else None
    if master and config.shared_folder is None and config.has_endpoints:
        found = shared_folder.folder_for_master(int(master.pid or 0))
        metric.set_enabled(on=config.metrics and found is not None)
    folder = multiprocess_folder()
    if config.metrics and folder is not None:
        metric.set_enabled(on=shared_folder.join_folder(folder))
