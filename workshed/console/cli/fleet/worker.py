"""`workshed worker`: run and supervise worker processes and a relay."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from workshed import logs
from workshed.app import get_app
from workshed.console.cli.terminal import completion
from workshed.console.formatting import SIZE_METAVAR, parse_size
from workshed.console.supervisor.child import ManagedProcess
from workshed.console.supervisor.code_watch import CodeWatch
from workshed.console.supervisor.supervisor import RELAY_AFTER_S, Supervisor
from workshed.console.supervisor.vitals import WorkerLimits, WorkerVitals
from workshed.errors import SettingsError, WorkshedError
from workshed.health import shared_folder
from workshed.settings import settings, update_environment
from workshed.transport import build


def worker(
    modules: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODULE", help="Modules with actors.", show_default="`actors` of your App"
        ),
    ] = None,
    *,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", "-p", min=1, help="Worker processes.", show_default="one per CPU"
        ),
    ] = os.cpu_count() or 1,
    threads: Annotated[int, typer.Option("--threads", "-t", min=1, help="Threads per worker.")] = 8,
    queues: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            "-Q",
            help="Consume only this queue; repeatable.",
            autocompletion=completion.complete_queues,
        ),
    ] = None,
    relay: Annotated[
        bool, typer.Option("--relay/--no-relay", help="Run a relay alongside the workers.")
    ] = True,
    max_jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Replace a worker after this many jobs, plus a random 0 to 20 %."),
    ] = None,
    max_memory: Annotated[
        int | None,
        typer.Option(
            parser=parse_size,
            metavar=SIZE_METAVAR,
            help="Replace a worker that uses more memory than this.",
        ),
    ] = None,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            help="Replace all processes when a Python file below this folder changes; "
            "for development.",
        ),
    ] = False,
) -> None:
    """Run worker processes and a relay; restart a process that dies, while the others go on.

    The pause before a restart is 0.5 s and doubles up to 10 s. It is 0.5 s again
    after a process was up for 30 s.

    The first worker starts alone. If it exits with 2 (settings, a queue, the
    schema) or 1 (your actors raised while they were imported), the error is
    logged once, nothing else starts, and this command exits with the same code.
    If RabbitMQ (3) or PostgreSQL (4) does not answer, the worker is restarted,
    and probes are answered meanwhile. Once the first worker has been up, every
    process that exits is restarted, whatever its exit code.

    SIGTERM or Ctrl-C: graceful shutdown. Workers finish running jobs within
    WORKSHED_SHUTDOWN_GRACE, then the relay stops.

    SIGHUP: rolling restart with new code, one process at a time. The old process
    stops once the new one is up; if the new one fails to start, the old processes
    go on. (On a terminal, SIGHUP shuts down, because the terminal is gone.)

    SIGTSTP: quiet. Workers start no more jobs, running jobs finish, and the rest
    goes back to its queues. SIGCONT resumes. (On a terminal, Ctrl-Z belongs to
    the shell.)

    --reload: rolling restart, as with SIGHUP, whenever a Python file below the
    working directory changes. If your actors raise while they are imported, the
    old processes go on, or, at the first start, the worker is started again with
    the next change. Hidden folders, virtual environments, node_modules and
    symbolic links to folders are skipped.

    A worker that reaches --max-jobs or --max-memory is replaced in the same way,
    one at a time. Memory is checked when a job has ended.

    Exit codes: 0 every process ended cleanly; 1 one did not; 72 one had not
    stopped 10 s after the grace period and was killed; others as above.
    """
    build.get_broker()  # opens no connection; reports unreadable settings before any child starts
    logs.configure_logging()
    grace = settings().shutdown_grace
    # Jobs interrupted at the end of the grace period still have to be settled.
    timeout_ms = round((grace.total_seconds() + RELAY_AFTER_S) * 1000)
    modules = modules or list(get_app().actors)
    if not modules:
        raise SettingsError("name the modules of your actors, here or in `actors` of your App")
    command = [sys.executable, "-m", "dramatiq", *prepend_broker(modules)]
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
    # All processes share one folder, so that one exporter serves the metrics and probes of all.
    shows, folder = settings().has_endpoints, shared_folder.folder_for_master(os.getpid())
    if folder is not None and shows:
        showing = [
            sys.executable,
            "-m",
            "workshed.transport.sidecars.exporter",
            str(folder),
            "--parent",
            relaying[-1],
        ]
        # `alone`: only one process can listen on the port.
        beside.append(ManagedProcess("exporter", showing, beside=True, alone=True, asks_none=True))
    elif folder is not None:
        shared_folder.remove_stale()  # the exporter would otherwise do it
    limits = WorkerLimits(max_jobs, max_memory)
    if limits and folder is None:
        raise WorkshedError("--max-jobs and --max-memory need a temporary folder; check TMPDIR")
    code = CodeWatch(Path.cwd()) if reload else None
    if reload:
        # Python recognises a stale .pyc file by its second and size, which a quick edit may keep.
        update_environment({"PYTHONDONTWRITEBYTECODE": "1"})
    vitals = WorkerVitals(folder, limits)
    supervisor = Supervisor([*workers, *beside], grace, vitals, code=code)
    raise typer.Exit(supervisor.run())


def prepend_broker(modules: list[str]) -> list[str]:
    """Return the modules dramatiq imports: the broker first, so that `@dramatiq.actor` uses it.

    The first module may name its own broker, `module:broker`, as dramatiq allows.
    """
    return modules if ":" in modules[0] else ["workshed:broker", *modules]
