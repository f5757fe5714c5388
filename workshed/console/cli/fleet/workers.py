"""`workshed workers`: the processes that run jobs."""

from dataclasses import asdict
from typing import Annotated

import typer

from workshed.console.cli.terminal import completion, output
from workshed.console.cli.terminal.audit import AuditedAction
from workshed.console.cli.terminal.bulk import UNKNOWN, each
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import Json
from workshed.console.cli.terminal.output import talk
from workshed.console.formatting import ago, in_words
from workshed.console.operations.environment import open_database
from workshed.console.operations.workers import require_workers
from workshed.jobs.control import workers as rows
from workshed.jobs.outbox.claims import database_now

workers = typer.Typer(
    cls=ListByDefault, add_completion=False, help="The processes that run jobs, and let one rest."
)

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="WORKER",
        help="HOST:PID, or the id of `--json`.",
        show_default=False,
        autocompletion=completion.workers,
    ),
]


@workers.command("list")
def listed(*, as_json: Json = False) -> None:
    """List the worker processes of all hosts, by their heartbeat; `workshed workers` does too.

    One that has not beaten for 10 s is silent: it was killed, or does not reach PostgreSQL. It is
    listed for another hour.
    """
    with open_database() as conn:
        found = rows.list_workers(conn)
        now = database_now(conn)
    if as_json:
        output.print_json([asdict(one) for one in found])
    elif found:
        lines = [
            (
                f"{one.host} {one.pid}\n{one.release or '-'}",
                f"{one.busy}/{one.threads}",
                in_words(now - one.started_at),
                beaten(one.state, ago(one.beat_at, now)),
                ", ".join(one.queues),
            )
            for one in found
        ]
        output.table(("worker", "busy", "up", "last beat", "queues"), lines, elastic=4)
    else:
        output.talk("No worker beats: run `workshed worker`, or `dramatiq actors`.")


def beaten(state: str, when: str) -> str:
    """Say when a worker has beaten, and what is unusual about it."""
    return when if state == "alive" else f"{state}, {when}"


@workers.command()
def quiet(names: Names, *, as_json: Json = False) -> None:
    """Let workers start nothing more; what runs there ends, the rest goes back to its queues.

    They live on, quiet, until they are resumed or restarted.
    """
    good = ("quiet", "was quiet")
    with open_database() as conn:
        found = require_workers(conn, names)

        def one(name: str) -> str:
            worker = found[name]
            return (
                good[worker.quiet_at is not None] if rows.quiet_worker(conn, worker.id) else UNKNOWN
            )

        deed = AuditedAction(conn, "workers.quiet", good[:1])
        each(list(found), one, good=good, deed=deed, as_json=as_json, kind="worker")
    talk(f"They follow within 3 s; `workshed workers resume {' '.join(found)}` lets them go on.")


@workers.command()
def resume(names: Names, *, as_json: Json = False) -> None:
    """Let workers start jobs again."""
    good = ("resumed", "was not quiet")
    with open_database() as conn:
        found = require_workers(conn, names)

        def one(name: str) -> str:
            worker = found[name]
            return good[worker.quiet_at is None] if rows.resume_worker(conn, worker.id) else UNKNOWN

        deed = AuditedAction(conn, "workers.resume", good[:1])
        each(list(found), one, good=good, deed=deed, as_json=as_json, kind="worker")
