"""The supervisor of `workshed worker`, which becomes this program once it has read its options.

What the command line imports would stay in memory for as long as the workers run.
"""

import argparse
import functools
import os
import sys
from pathlib import Path

from workshed import logs
from workshed.console.supervisor.child import ChildRole, Launch, ManagedProcess, spawn
from workshed.console.supervisor.code_watch import CodeWatch
from workshed.console.supervisor.preloaded import ForkSource, PreloadedProcess
from workshed.console.supervisor.supervisor import RELAY_AFTER_S, Supervisor
from workshed.console.supervisor.vitals import WorkerLimits, WorkerVitals
from workshed.errors import EXIT_USAGE
from workshed.health import endpoints, shared_folder
from workshed.parent import adopt_orphans
from workshed.settings import settings, update_environment

EXIT_NO_FOLDER = 1
NO_ADOPTION = "--preload: this system does not let a process adopt others ({}); run without it"


def main() -> int:
    """Run until SIGTERM or Ctrl-C; return the exit code."""
    asked = build_parser().parse_args()
    config = settings()
    logs.configure_logging()
    # Jobs interrupted at the end of the grace period still have to be settled.
    stop_timeout_ms = round((config.shutdown_grace.total_seconds() + RELAY_AFTER_S) * 1000)
    command = [*run_module("workshed.transport.worker_process"), *asked.modules]
    command += ["--threads", str(asked.threads), "--stop-timeout", str(stop_timeout_ms)]
    command += ["--queues", *asked.queues] if asked.queues else []
    children: list[ManagedProcess] = []
    launch: Launch = functools.partial(spawn, command)
    if asked.preload:
        try:
            adopt_orphans()
        except OSError as err:
            print(f"workshed: {NO_ADOPTION.format(err.strerror)}", file=sys.stderr)
            return EXIT_USAGE
        source = ForkSource()
        children.append(PreloadedProcess(command, source))
        launch = source.fork
    children += [ManagedProcess(f"worker {n}", launch) for n in range(1, asked.processes + 1)]
    if asked.relay:
        relay = functools.partial(spawn, run_module("workshed.transport.relay.relay"))
        children.append(ManagedProcess("relay", relay, ChildRole.SIDECAR))
    # All processes share one folder, from which this one serves the metrics and probes of all.
    serves = config.has_endpoints  # asked first: naming the folder below changes the answer
    folder = shared_folder.folder_for_master(os.getpid())
    limits = WorkerLimits(asked.max_jobs, asked.max_memory)
    if limits and folder is None:
        print(
            "workshed: --max-jobs and --max-memory need a temporary folder; check TMPDIR",
            file=sys.stderr,
        )
        return EXIT_NO_FOLDER
    if folder is not None:
        shared_folder.remove_stale()
        if serves:
            endpoints.serve_shared(folder)
    code = CodeWatch(Path.cwd()) if asked.reload else None
    if asked.reload:
        # Python recognises a stale .pyc file by its second and size, which a quick edit may keep.
        update_environment({"PYTHONDONTWRITEBYTECODE": "1"})
    vitals = WorkerVitals(folder, limits)
    return Supervisor(children, config.shutdown_grace, vitals, code=code).run()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options that `workshed worker` passes on."""
    parser = argparse.ArgumentParser(prog="python -m workshed.console.supervisor")
    parser.add_argument("modules", nargs="+", metavar="MODULE[:BROKER]")
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--queues", nargs="+", metavar="QUEUE")
    parser.add_argument("--no-relay", dest="relay", action="store_false")
    parser.add_argument("--max-jobs", type=int)
    parser.add_argument("--max-memory", type=int, metavar="BYTES")
    parser.add_argument("--reload", action="store_true")
    parser.add_argument("--preload", action="store_true")
    return parser


def run_module(name: str) -> list[str]:
    """Return the command of a child, which on Linux ends when this process does."""
    return [sys.executable, "-m", name, "--parent", str(os.getpid())]


if __name__ == "__main__":
    raise SystemExit(main())
