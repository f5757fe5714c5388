"""A process that answers for all others of its master, `python -m` this module."""

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
from workshed.health.readiness import say_up
from workshed.http import Pages
from workshed.parent import die_with_parent
from workshed.settings import multiprocess_folder, settings
from workshed.transport.errors import exit_code
from workshed.transport.sidecars.relay_fork import set_outside

AGAIN_S = 30.0
"""Between looks for a free port."""
LOOK_S = 1.0
"""Between looks whether it was told to stop."""


def http_pages(folder: Path) -> Pages:
    """Return what is asked for: the numbers of a folder that is ours, and probes."""
    found = probes.probe_pages(partial(status.read_statuses, folder), of="worker")
    if settings().metrics and multiprocess_folder() == folder:
        # Not at the top: where nothing is measured, nothing is imported.
        exposition = importlib.import_module("workshed.metrics.exposition")
        found = {
            **found,
            "/metrics": exposition.metrics_page(partial(exposition.collect_shared, folder)),
        }
    return found


def run_exporter(folder: Path, stop: threading.Event) -> None:
    """Answer until `stop` is set; where no port is free, look for one again."""
    shared_folder.remove_stale()
    found = http_pages(folder)
    server = None
    while not stop.is_set():
        if server is None:
            server = http.in_thread(settings(), found)
            say_up(os.getpid())  # also where it has to wait for a port
        # Not for ever: a signal that another thread gets does not wake this one.
        stop.wait(AGAIN_S if server is None else LOOK_S)


def main() -> int:
    """Run until SIGTERM or SIGINT, or until `--parent PID` dies; return the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: set_outside(stop))
    match sys.argv[1:]:
        case [folder, "--parent", pid]:
            die_with_parent(int(pid))
        case _:
            raise SystemExit("python -m workshed.transport.sidecars.exporter FOLDER --parent PID")
    try:
        logs.configure()
        run_exporter(Path(folder), stop)
    except WorkshedError as err:
        print(err, file=sys.stderr)  # noqa: T201 -- its master's
        return exit_code(err)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
