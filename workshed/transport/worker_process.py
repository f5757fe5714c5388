"""One worker process of `workshed worker`; run it by `-m`.

It does what a worker process of `dramatiq` does, without a master process, which would take 14 MB
of memory, hide the exit code of a worker, and write lines of its own.
"""

import argparse
import importlib
import io
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq import Broker
from dramatiq.worker import Worker

from workshed import db, logs
from workshed.errors import (
    EXIT_ACTORS_RAISED,
    EXIT_DATABASE,
    EXIT_USAGE,
    SettingsError,
    WorkshedError,
)
from workshed.health.readiness import notify_ready
from workshed.middleware import LogContext
from workshed.parent import die_with_parent
from workshed.settings import settings
from workshed.transport.base import WorkshedBroker
from workshed.transport.build import get_broker
from workshed.transport.errors import exit_code
from workshed.transport.preload import STOP_SIGNALS, Preload
from workshed.transport.sidecars.forks import SidecarFork, enable_metrics

logger = logging.getLogger("workshed.transport.worker_process")  # not `__main__`, as `-m` runs it

POLL_S = 1.0
READ_BYTES = 64


def main() -> int:
    """Run jobs until SIGTERM, or until `--parent` dies; return the exit code."""
    asked = build_parser().parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    die_with_parent(asked.parent)
    sys.path.insert(0, str(Path.cwd()))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a job prints is in the log at once
    preload = None
    if asked.preload is not None:
        preload = Preload(socket.socket(fileno=asked.preload), asked.parent)
    try:
        broker = import_actors(asked.modules, preload)
    except SettingsError as err:
        logger.critical("%s", err)
        return exit_code(err)
    except ImportError:
        logger.critical("the modules of your actors cannot be imported", exc_info=True)
        return EXIT_USAGE
    except Exception:
        logger.critical("importing the modules of your actors raised an exception", exc_info=True)
        return EXIT_ACTORS_RAISED
    if preload is not None:
        notify_ready()
        if not preload.serve():
            return 0
        # This is a worker now: it has files of metrics of its own, and has not booted yet.
        enable_metrics(settings())
        broker.emit_after("process_boot")
    return run_worker(broker, asked)


def import_actors(modules: list[str], preload: Preload | None) -> WorkshedBroker:
    """Return the broker, with the actors of these modules."""
    logs.configure_logging()
    broker = find_broker(modules[0])
    if preload is None:
        broker.emit_after("process_boot")
    else:  # each worker emits that itself
        for middleware in broker.middleware:
            if isinstance(middleware, LogContext):
                middleware.configure_logging()
    for name in modules:
        importlib.import_module(name.partition(":")[0])
    if preload is not None:
        preload.prepare(broker.consumption_module)
    return broker


def run_worker(broker: WorkshedBroker, options: argparse.Namespace) -> int:
    """Run jobs until SIGTERM; return the exit code."""
    warn_of_forks(broker)
    # Not earlier: until here SIGTERM ends the process at once, and nothing is lost by that.
    wait_for_stop = catch_stop_signals()
    worker = Worker(broker, queues=options.queues, worker_threads=options.threads)
    try:
        worker.start()
    except WorkshedError as err:
        logger.critical("%s", err)
        return exit_code(err)
    except db.TRANSIENT_ERRORS as err:
        logger.critical("PostgreSQL: %s", str(err).strip())
        return EXIT_DATABASE
    wait_for_stop()
    worker.stop(timeout=options.stop_timeout)
    broker.close()
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options that `workshed worker` passes on."""
    parser = argparse.ArgumentParser(prog="python -m workshed.transport.worker_process")
    parser.add_argument("modules", nargs="+", metavar="MODULE[:BROKER]")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--queues", nargs="+", metavar="QUEUE")
    parser.add_argument("--stop-timeout", type=int, required=True, metavar="MILLISECONDS")
    parser.add_argument("--parent", type=int, required=True, metavar="PID")
    parser.add_argument(
        "--preload", type=int, metavar="FD", help="fork workers, as asked on this socket"
    )
    return parser


def catch_stop_signals() -> Callable[[], None]:
    """Return a function that waits for SIGTERM or SIGHUP; a second one changes nothing."""
    # Python writes a byte into this pipe when a signal arrives, which ends the wait. An event that
    # a handler sets could be locked by the very thread that the handler interrupts.
    signals, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    arrived: list[int] = []
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, _frame: arrived.append(number))

    def wait() -> None:
        while not arrived:
            # With a timeout, because an event loop in the main thread may take the pipe away.
            ready, _, _ = select.select([signals], [], [], POLL_S)
            if ready:
                os.read(signals, READ_BYTES)

    return wait


def find_broker(module: str) -> WorkshedBroker:
    """Return the process's broker, or the one that the first module names.

    As with `dramatiq`, that is `module:broker`, `module:app.broker`, or `module:setup`, a function
    that returns it. Raises `SettingsError` if it is no broker of Workshed.
    """
    name, _, attributes = module.partition(":")
    if not attributes:
        return get_broker()
    found: Any = importlib.import_module(name)
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise SettingsError(f"{module}: {found!r} has no {attribute!r}")
        found = getattr(found, attribute)
    if callable(found) and not isinstance(found, Broker):
        found = found()
    if not isinstance(found, WorkshedBroker):
        raise SettingsError(f"{module} is a {type(found).__name__}, not a broker of Workshed")
    dramatiq.set_broker(found)
    return found


def warn_of_forks(broker: WorkshedBroker) -> None:
    """Name middleware that wants processes of its own, which only a `dramatiq` master starts."""
    for middleware in broker.middleware:
        if middleware.forks and not isinstance(middleware, SidecarFork):
            logger.warning(
                "%s needs processes of its own: run them yourself, or start the workers with "
                "`dramatiq` instead of `workshed worker`",
                type(middleware).__name__,
            )


if __name__ == "__main__":
    raise SystemExit(main())
