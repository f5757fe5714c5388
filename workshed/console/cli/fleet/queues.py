"""`workshed queues`: how many jobs each queue holds, and which queues are paused."""

import contextlib
import json
import time
from dataclasses import asdict
from typing import Annotated

import typer

from workshed.console.cli.fleet.purge import purge_queue
from workshed.console.cli.terminal import completion, output
from workshed.console.cli.terminal.bulk import run_operation
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import Json
from workshed.console.cli.terminal.output import print_message, print_table
from workshed.console.operations.environment import (
    has_rabbitmq,
    open_database,
    open_queue_server,
)
from workshed.console.operations.queues import PAUSE, RESUME, QueueState, list_queue_states
from workshed.console.text import to_json_type
from workshed.database.postgres import Connection

queues = typer.Typer(
    cls=ListByDefault,
    add_completion=False,
    help="Show how many jobs each queue holds; pause, resume or purge a queue.",
)

Names = Annotated[
    list[str],
    typer.Argument(metavar="QUEUE", show_default=False, autocompletion=completion.complete_queues),
]


REFRESH_S = 2.0


@queues.command("list")
def list_queues(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh every 2 s, until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the queues; `workshed queues` does the same. A dash means unknown.

    The number of jobs that workers hold (unacked) needs RabbitMQ's management API:
    set WORKSHED_MANAGEMENT_URL. Exit code 3 if RabbitMQ does not answer;
    --watch continues then. With --watch, --json prints one value per line.

    With WORKSHED_BROKER_URL=postgresql:, all figures are from PostgreSQL: ready
    jobs are due, and waiting ones are due later.
    """
    with open_database() as conn:
        if watch:
            watch_queues(conn, as_json=as_json)
            return
        found, trouble = list_queue_states(conn, open_queue_server())
    if as_json:
        output.print_json(found)
    else:
        print_states(found)
    for one in found:
        if one.dead_queue:
            output.print_message(
                f"{one.name}.dead on RabbitMQ holds {one.dead_queue}. "
                f"To requeue: `workshed dead requeue {one.name}`."
            )
    if trouble:
        raise trouble[0]


def print_states(found: list[QueueState]) -> None:
    """Print queues as a table, in which only RabbitMQ's have a kind."""
    on_rabbitmq = has_rabbitmq()
    kind = "kind/levels" if on_rabbitmq else "levels"
    columns = ("queue", kind, "weight", "ready", "unacked", "workers", "waiting", "dead")
    lines = [
        (
            f"{one.name} (paused)" if one.paused_at else one.name,
            format_kind(one) if on_rabbitmq else one.levels or None,
            *(one.weight, one.ready, one.unacked, one.workers, one.waiting, one.dead),
        )
        for one in found
    ]
    print_table(columns, lines)


def format_kind(queue: QueueState) -> str | None:
    """Return its kind on RabbitMQ, and how many levels of priority it has."""
    return f"{queue.kind}/{queue.levels}" if queue.levels else queue.kind


def watch_queues(conn: Connection, *, as_json: bool) -> None:
    """Print the queues every `REFRESH_S` seconds until Ctrl-C; on a terminal, clear it."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            found, trouble = list_queue_states(conn, open_queue_server())
            if as_json:
                print(json.dumps([asdict(one) for one in found], default=to_json_type), flush=True)
            else:
                output.create_console().clear()  # does nothing without a terminal
                print_states(found)
                print(flush=True)
            for one in trouble:
                output.print_message(str(one))
            time.sleep(REFRESH_S)


@queues.command()
def pause(names: Names, *, as_json: Json = False) -> None:
    """Pause queues: running jobs finish, the others stay in the queue."""
    with open_database() as conn:
        run_operation(conn, PAUSE, names, as_json=as_json)
    print_message(f"To resume: `workshed queues resume {' '.join(names)}`.")


@queues.command()
def resume(names: Names, *, as_json: Json = False) -> None:
    """Resume paused queues."""
    with open_database() as conn:
        run_operation(conn, RESUME, names, as_json=as_json)


queues.command("purge")(purge_queue)
