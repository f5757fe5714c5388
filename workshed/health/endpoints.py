"""Serve `/metrics`, `/livez` and `/readyz`, of one process or of all that share a folder."""

import importlib
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

from workshed.health import http, probes, status
from workshed.health.http import PageHandlers
from workshed.health.probes import StatusSource
from workshed.health.status import ProcessKind
from workshed.metrics import metric
from workshed.settings import multiprocess_folder, settings

PORT_RETRY_S = 30.0
"""Pause between searches for a free port."""


def serve_own(source: StatusSource, of: ProcessKind) -> None:
    """Serve the metrics and the status of this process in a thread from now on.

    For a process that runs alone, such as a relay or a clock. Where a metrics folder is set, the
    process shares it with others, and the program that set it serves the metrics of all.
    """
    pages = dict(probes.probe_pages(source, of))
    if settings().has_shared_metrics:
        metric.keep_in_memory()
        exposition = _import_exposition()
        pages["/metrics"] = exposition.metrics_page(exposition.own_metrics)
    if pages:
        http.serve_in_thread(settings(), pages)


def serve_shared(folder: Path) -> None:
    """Serve the metrics and probes of all processes that share a folder, in a thread from now on.

    The answers come from files, so they wait for no other process and for no server.
    """
    thread = threading.Thread(target=_serve, args=(folder,), daemon=True)
    # The main thread handles signals, and may wait for ever: it is not woken by one that another
    # thread receives. A thread, and those that it starts, inherit what is blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def shared_pages(folder: Path) -> PageHandlers:
    """Return the pages to serve: probes, and metrics if the folder is Workshed's own."""
    pages = dict(probes.probe_pages(partial(status.read_statuses, folder), of="worker"))
    if settings().metrics and multiprocess_folder() == folder:
        exposition = _import_exposition()
        pages["/metrics"] = exposition.metrics_page(partial(exposition.shared_metrics, folder))
    return pages


def _serve(folder: Path) -> None:
    pages = shared_pages(folder)
    if "/metrics" in pages:
        _import_exposition().tidy_regularly(folder)
    while (server := http.bind_server(settings(), pages)) is None:
        threading.Event().wait(PORT_RETRY_S)
    server.serve_forever()


def _import_exposition() -> Any:
    """Import what writes metrics, which a process without metrics does not need."""
    return importlib.import_module("workshed.metrics.exposition")
