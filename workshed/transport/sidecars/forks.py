"""The fork that every `dramatiq` master makes: it supervises a relay, and serves metrics."""

import importlib
import sys
from collections.abc import Callable

from dramatiq.middleware import Middleware

from workshed import logs
from workshed.health import shared_folder
from workshed.metrics import metric
from workshed.parent import master_process, parent_pid
from workshed.settings import Settings, multiprocess_folder, settings
from workshed.transport.sidecars.supervisor import ChildSupervisor


class SidecarFork(Middleware):
    """Ask a `dramatiq` master for a fork that supervises a relay, and serves metrics and probes.

    dramatiq does not monitor its forks, so the relay is a child, which the fork restarts. Nothing
    restarts the fork. `workshed worker` does both itself.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        """Ask for no fork unless `enabled`."""
        self._is_enabled = enabled
        self.run = run_sidecars
        """The function that the fork runs, which dramatiq finds by its module and name."""

    @property
    def forks(self) -> list[Callable[[], int]]:
        """Fork once per master."""
        return [self.run] if self._is_enabled else []


def run_sidecars() -> int:
    """Serve, and supervise a relay, as the settings say, until SIGTERM or the master's end."""
    logs.configure_logging()
    config, folder = settings(), None
    if config.has_endpoints:
        folder = shared_folder.folder_for_master(parent_pid())
    if folder is not None and config.shared_folder is None:
        shared_folder.remove_stale()
        # Only this fork needs it, and it imports an HTTP server.
        importlib.import_module("workshed.health.endpoints").serve_shared(folder)
    if folder is None and not config.relay_fork:
        return 0
    words = ["workshed.transport.relay.relay"] if config.relay_fork else []
    return ChildSupervisor("the relay", words).supervise()


def enable_metrics(config: Settings) -> None:
    """Collect metrics in this process if they are on; workers of one master share a folder.

    A program that only sends uses its own registry, so that its own `/metrics` includes ours.
    """
    metric.set_enabled(on=config.metrics)
    # The check for `dramatiq.cli` excludes web servers that `multiprocessing` started.
    master = master_process() if "dramatiq.cli" in sys.modules else None
    if master and config.shared_folder is None and config.has_endpoints:
        found = shared_folder.folder_for_master(int(master.pid or 0))
        metric.set_enabled(on=config.metrics and found is not None)
    folder = multiprocess_folder()
    if config.metrics and folder is not None:
        metric.set_enabled(on=shared_folder.join_folder(folder))
