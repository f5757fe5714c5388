"""The exporter: a process that serves HTTP for all processes of its master; run it by `-m`."""

import importlib
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

from workshed import http, logs
from workshed.errors import WorkshedError
from workshed.health import probes, shared_folder, status
from workshed.health.readiness import notify_ready
from workshed.http import PageHandlers
from workshed.parent import die_with_parent
from workshed.settings import multiprocess_folder, settings
from workshed.transport.errors import exit_code
from workshed.transport.sidecars.supervisor import set_from_signal_handler

PORT_RETRY_S = 30.0
"""Pause between searches for a free port."""
POLL_S = 1.0
"""Pause between checks of the stop event."""


def http_pages(folder: Path) -> PageHandlers:
    """Return the pages to serve: probes, and metrics if the folder is Workshed's own."""
    found = probes.probe_pages(partial(status.read_statuses, folder), of="worker")
    if settings().metrics and multiprocess_folder() == folder:
        # Not at the top, so that without metrics nothing of them is imported.
        exposition = importlib.import_module("workshed.metrics.exposition")
        found = {
            **found,
            "/metrics": exposition.metrics_page(partial(exposition.collect_shared_metrics, folder)),
        }
    return found


def run_exporter(folder: Path, stop: threading.Event) -> None:
    """Serve until `stop` is set; if no port is free, search again."""
    shared_folder.remove_stale()
    found = http_pages(folder)
    server = None
    while not stop.is_set():
        if server is None:
            server = http.serve_in_thread(settings(), found)
            notify_ready(os.getpid())  # even if it has to wait for a port
        # With a timeout, because a signal that another thread receives does not wake this one.
        stop.wait(PORT_RETRY_S if server is None else POLL_S)


def main() -> int:
    """Run until SIGTERM or SIGINT, or until `--parent PID` dies; return the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: set_from_signal_handler(stop))
    match sys.argv[1:]:
        case [folder, "--parent", pid]:
            die_with_parent(int(pid))
        case _:
            raise SystemExit("python -m workshed.transport.sidecars.exporter FOLDER --parent PID")
    try:
        logs.configure_logging()
        run_exporter(Path(folder), stop)
    except WorkshedError as err:
        print(err, file=sys.stderr)  # noqa: T201 -- stderr is the master's
        return exit_code(err)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
