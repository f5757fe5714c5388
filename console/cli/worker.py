"""`workshed worker`: worker processes that do not stop each other."""

import os
import sys
from typing import Annotated

import typer

from console.cli import completing


def worker(
    modules: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODULE", help="Modules of actors.", show_default="actors"),
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
            autocompletion=completing.queues,
        ),
    ] = None,
    relay: Annotated[
        bool, typer.Option("--relay/--no-relay", help="Run a relay beside the workers.")
    ] = True,
) -> None:
    """Run worker processes and a relay, and restart the one that dies.

    The others go on. The pause before a restart is 0.5 s and doubles to 10 s;
    after 30 s up it is 0.5 s again.

    The first worker starts alone. When it ends with 2 (settings, a queue, the
    schema) or 1 (your actors raised while it imported them), that is said once,
    nothing more is started, and the code is passed on. RabbitMQ (3) or
    PostgreSQL (4) that is away is tried again. Once it was up, whatever ends is
    started again, with any code.

    SIGTERM or Ctrl-C: all workers finish what runs, within
    WORKSHED_SHUTDOWN_GRACE; then the relay ends. SIGHUP: one child after the
    other is restarted, with new code, the next only when all are up. (Started
    from a terminal it stops: the terminal has gone.)

    Exit codes: 0 all ended well; 1 one did not; 72 one had not stopped 10 s
    after the grace, and was killed; others as above.
    """
    from brokers import build
    from console.child import Child
    from console.supervisor import RELAY_AFTER_S, Supervisor
    from workshed import logs
    from workshed.metrics.folders import gather
    from workshed.settings import multiprocess_folder, settings

    build.broker()  # opens nothing; a setting that no child could read is said here, once
    logs.configure()
    grace = settings().shutdown_grace
    # Jobs that were interrupted at the end of the grace still have to be settled.
    timeout_ms = round((grace.total_seconds() + RELAY_AFTER_S) * 1000)
    command = [sys.executable, "-m", "dramatiq", *(modules or ["actors"])]
    command += ["--processes", "1", "--threads", str(threads)]
    command += ["--worker-shutdown-timeout", str(timeout_ms)]
    command += ["--queues", *queues] if queues else []
    workers = [Child(f"worker {number}", command) for number in range(1, processes + 1)]
    relaying = [sys.executable, "-m", "brokers.relay", "--parent", str(os.getpid())]
    beside = [Child("relay", relaying)] if relay else []
    # One folder for all, so that there is one page to scrape; whoever named one shows it himself.
    if settings().metrics and multiprocess_folder() is None and (folder := gather(os.getpid())):
        showing = [sys.executable, "-m", "brokers.exporter", str(folder), "--parent", relaying[-1]]
        beside.append(Child("exporter", showing))
    supervisor = Supervisor(workers, beside, grace)
    raise typer.Exit(supervisor.run())
