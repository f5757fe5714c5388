"""`workshed worker`: worker processes that do not stop each other."""

import os
import sys
from typing import Annotated

import typer

from workshed import logs
from workshed.app import app
from workshed.console.cli.terminal import completion
from workshed.console.formatting import ROOM, room
from workshed.console.supervisor.child import ManagedProcess
from workshed.console.supervisor.supervisor import RELAY_AFTER_S, Supervisor
from workshed.console.supervisor.vitals import WorkerLimits, WorkerVitals
from workshed.errors import SettingsError, WorkshedError
from workshed.health import shared_folder
from workshed.settings import settings
from workshed.transport import build


def worker(
    modules: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODULE", help="Modules of actors.", show_default="`actors` of your App"
        ),
    ] = None,
    *,
    processes: Annotated[
        int,
        typer.Option("--processes", "-p", min=1, help="Workers.", show_default="one per CPU"),
    ] = os.cpu_count() or 1,
    threads: Annotated[
        int, typer.Option("--threads", "-t", min=1, help="Threads of each worker.")
    ] = 8,
    queues: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            "-Q",
            help="Work on this queue only; may be repeated.",
            autocompletion=completion.queues,
        ),
    ] = None,
    relay: Annotated[
        bool, typer.Option("--relay/--no-relay", help="Run a relay beside the workers.")
    ] = True,
    max_jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Replace a worker that has run so many, or up to a fifth more by chance."
        ),
    ] = None,
    max_memory: Annotated[
        int | None,
        typer.Option(
            parser=room, metavar=ROOM, help="Replace a worker that takes more than this of RAM."
        ),
    ] = None,
) -> None:
    """Run worker processes and a relay, and restart the one that dies.

    The others go on. The pause before a restart is 0.5 s and doubles to 10 s;
    after 30 s up it is 0.5 s again.

    The first worker starts alone. When it ends with 2 (settings, a queue, the
    schema) or 1 (your actors raised while it imported them), that is said once,
    nothing more is started, and the code is passed on. RabbitMQ (3) or
    PostgreSQL (4) that is away is tried again; probes are answered meanwhile.
    Once it was up, whatever ends is started again, with any code.

    SIGTERM or Ctrl-C: all workers finish what runs, within
    WORKSHED_SHUTDOWN_GRACE; then the relay ends. SIGHUP: one child after the
    other is replaced, with new code, each once its successor is up; when one
    does not come up, the old ones go on. (Started from a terminal it stops: the
    terminal has gone.) SIGTSTP: the workers start nothing more, what runs ends,
    the rest goes back to its queues; SIGCONT: they go on. (On a terminal Ctrl-Z
    is the shell's.)

    A worker that has reached --max-jobs or --max-memory (looked at when a job
    has ended) is replaced in the same way, one at a time.

    Exit codes: 0 all ended well; 1 one did not; 72 one had not stopped 10 s
    after the grace, and was killed; others as above.
    """
    build.broker()  # opens nothing; a setting that no child could read is said here, once
    logs.configure()
    grace = settings().shutdown_grace
    # Jobs that were interrupted at the end of the grace still have to be settled.
    timeout_ms = round((grace.total_seconds() + RELAY_AFTER_S) * 1000)
    modules = modules or list(app().actors)
    if not modules:
        raise SettingsError("name the modules of your actors, here or as `actors` of your App")
    command = [sys.executable, "-m", "dramatiq", *imported(modules)]
    command += ["--processes", "1", "--threads", str(threads)]
    command += ["--worker-shutdown-timeout", str(timeout_ms)]
    command += ["--queues", *queues] if queues else []
    workers = [ManagedProcess(f"worker {number}", command) for number in range(1, processes + 1)]
    relaying = [
        sys.executable,
        "-m",
        "workshed.transport.relay.relay",
        "--parent",
        str(os.getpid()),
    ]
    beside = [ManagedProcess("relay", relaying, beside=True)] if relay else []
    # One folder for all, so that there is one page to scrape, and one process to be asked.
    shows, folder = settings().shows, shared_folder.folder_for_master(os.getpid())
    if folder is not None and shows:
        showing = [
            sys.executable,
            "-m",
            "workshed.transport.sidecars.exporter",
            str(folder),
            "--parent",
            relaying[-1],
        ]
        # It has the port.
        beside.append(ManagedProcess("exporter", showing, beside=True, alone=True, asks_none=True))
    elif folder is not None:
        shared_folder.remove_stale()  # as the exporter does
    limits = WorkerLimits(max_jobs, max_memory)
    if limits and folder is None:
        raise WorkshedError("--max-jobs and --max-memory need a folder, see TMPDIR")
    supervisor = Supervisor([*workers, *beside], grace, WorkerVitals(folder, limits))
    raise typer.Exit(supervisor.run())


def imported(modules: list[str]) -> list[str]:
    """Return what dramatiq imports: the broker first, so that a bare `@dramatiq.actor` is on it.

    As dramatiq takes it, the first may name a broker of its own, `module:broker`.
    """
    return modules if ":" in modules[0] else ["workshed:broker", *modules]
