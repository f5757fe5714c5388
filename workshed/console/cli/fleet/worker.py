"""`workshed worker`: run and supervise worker processes and a relay."""

import os
import sys
from typing import Annotated

import typer

from workshed.app import get_app
from workshed.console.cli.terminal import completion
from workshed.console.formatting import SIZE_METAVAR, parse_size
from workshed.errors import SettingsError
from workshed.settings import settings


def worker(  # noqa: PLR0913 -- an option each
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
    preload: Annotated[
        bool,
        typer.Option(
            "--preload",
            help="Import your actors once, and fork the workers from that process, which saves "
            "memory; only on Linux.",
        ),
    ] = False,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            help="Replace all processes when a Python file below this folder changes; "
            "for development.",
        ),
    ] = False,
) -> None:
    """Run worker processes and a relay; restart a process that dies, while the others continue.

    The pause before a restart is 0.5 s and doubles up to 10 s. It is 0.5 s again
    after a process was up for 30 s.

    The first worker starts alone. If it exits with code 2 (settings, a queue, the
    schema) or 1 (your actors raised while they were imported), the error is
    logged once, nothing else starts, and this command exits with the same code.
    If RabbitMQ (3) or PostgreSQL (4) does not answer, the worker is restarted,
    and probes are answered meanwhile. Once the first worker has been up, every
    process that exits is restarted, whatever its exit code.

    SIGTERM or Ctrl-C: graceful shutdown. Workers finish running jobs within
    WORKSHED_SHUTDOWN_GRACE, then the relay stops.

    SIGHUP: rolling restart with new code, one process at a time. The old process
    stops once the new one is up; if the new one fails to start, the old processes
    continue. (On a terminal, SIGHUP shuts down, because the terminal is gone.)

    SIGTSTP: quiet. Workers start no more jobs, running jobs finish, and the rest
    goes back to its queues. SIGCONT resumes. (On a terminal, Ctrl-Z belongs to
    the shell.)

    --preload: one more process imports your actors and forks the workers, which
    share its memory until they write to it. If importing leaves a thread or an
    open socket, it exits with 2 and names them. SIGHUP replaces this process
    first, so that the workers get the new code.

    --reload: rolling restart, as with SIGHUP, whenever a Python file below the
    working directory changes. If your actors raise while they are imported, the
    old processes continue, or, at the first start, the worker is started again with
    the next change. Hidden folders, virtual environments, node_modules and
    symbolic links to folders are skipped.

    A worker that reaches --max-jobs or --max-memory is replaced in the same way,
    one at a time. Memory is checked when a job has ended.

    Exit codes: 0 every process ended cleanly; 1 one did not; 72 one had not
    stopped 10 s after the grace period and was killed; others as above.
    """
    settings()  # reports unreadable settings before anything starts
    modules = modules or list(get_app().actors)
    if not modules:
        raise SettingsError("name the modules of your actors, here or in `actors` of your App")
    if preload and sys.platform != "linux":
        raise SettingsError("--preload works only on Linux; run without it here")
    if preload and reload:
        raise SettingsError("use --reload without --preload: each change has to be imported again")
    words = [*modules, "--processes", str(processes), "--threads", str(threads)]
    words += ["--queues", *queues] if queues else []
    words += [] if relay else ["--no-relay"]
    words += [] if max_jobs is None else ["--max-jobs", str(max_jobs)]
    words += [] if max_memory is None else ["--max-memory", str(max_memory)]
    words += ["--preload"] if preload else []
    words += ["--reload"] if reload else []
    # This process becomes the supervisor, without what the command line has imported.
    program = [sys.executable, "-m", "workshed.console.supervisor", *words]
    os.execv(sys.executable, program)  # noqa: S606 -- no shell reads it
