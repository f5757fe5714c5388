"""The peers: their versions, and the commands that start their workers and senders."""

import re
import sys
from collections.abc import Sequence
from importlib.metadata import version

from bench import sidekiq

PACKAGES = {
    "stock": "dramatiq",
    "celery": "celery",
    "procrastinate": "procrastinate",
    "pgqueuer": "pgqueuer",
    "taskiq": "taskiq",
    "raw": "pika",
}
"""The package whose version is a peer's, by the first word of its name."""
CELERY = (
    *("celery", "-A", "bench.jobs.celery_app", "worker", "-l", "ERROR"),
    *("--without-mingle", "--without-gossip"),
)
PROCRASTINATE = (
    *("procrastinate", "--app", "bench.jobs.procrastinate_app.app", "--log-level", "warning"),
    *("worker", "--delete-jobs", "successful"),
)
TASKIQ = (
    *("taskiq", "worker", "bench.jobs.taskiq_app:broker", "--log-level", "WARNING"),
    *("--max-async-tasks", "100", "--ack-type", "when_executed"),
)


def find_peer_version(name: str) -> str | None:
    """Return the version of a peer, by a name that begins with it; `None` for any other name."""
    first = re.split(r"\W", name, maxsplit=1)[0]
    if first == "sidekiq":
        return sidekiq.find_version()
    return version(PACKAGES[first]) if first in PACKAGES else None


def sender_command(peer: str, way: str, job: str, count: int) -> Sequence[str]:
    """Return the command of a process that sends a peer's jobs."""
    if peer == "sidekiq":
        return [sidekiq.find_program("ruby"), str(sidekiq.SENDER), job, str(count)]
    return [sys.executable, "-m", "bench.send", peer, way, job, str(count)]


def worker_command(peer: str, processes: int, threads: int) -> Sequence[str]:
    """Return the command that starts a peer's worker."""
    python = [sys.executable, "-m"]
    match peer.split():
        case ["raw", *_]:
            command = [*python, "bench.raw", "-1"]
        case ["celery", pool]:
            slots = threads * processes if pool == "threads" else max(2, processes)
            command = [*python, *CELERY, "-P", pool, "-c", str(slots)]
        case ["sidekiq", *_]:
            command = several(processes, sidekiq.worker_command(threads))
        case ["procrastinate"]:
            command = several(processes, [*python, *PROCRASTINATE, "--concurrency", str(threads)])
        case ["pgqueuer"]:
            command = several(processes, [*python, "bench.jobs.pgqueuer_app"])
        case ["taskiq", _]:
            sizes = ["--workers", str(processes), "--max-threadpool-threads", str(threads)]
            command = [*python, *TASKIQ, *sizes]
        case ["supervised", *options]:
            words = ["bench.jobs.ours", "-p", str(processes), "-t", str(threads)]
            command = [*python, "workshed", "worker", *words, *(f"--{one}" for one in options)]
        case [module, *_]:
            words = [f"bench.jobs.{module}", "-p", str(processes), "-t", str(threads)]
            command = [*python, "dramatiq", *words]
        case _:
            raise ValueError(f"no peer is named {peer!r}")
    return command


def several(processes: int, command: Sequence[str]) -> list[str]:
    """Return a command that runs another one several times; the same command for one process."""
    if processes == 1:
        return list(command)
    return [sys.executable, "-m", "bench.copies", str(processes), *command]
