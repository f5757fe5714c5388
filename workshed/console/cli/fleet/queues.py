"""`workshed queues`: how much is where, and which queues rest."""

import contextlib
import json
import time
from dataclasses import asdict
from typing import Annotated

import typer

from workshed.console.cli.fleet.purge import purge
from workshed.console.cli.terminal import completion, output
from workshed.console.cli.terminal.audit import AuditedAction
from workshed.console.cli.terminal.bulk import UNKNOWN, each
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import Json
from workshed.console.cli.terminal.output import table, talk
from workshed.console.operations.environment import (
    known_queues,
    open_database,
    open_management,
    require_rabbitmq,
)
from workshed.console.operations.queues import QueueState, list_queue_states
from workshed.console.text import plain
from workshed.db import Connection
from workshed.jobs.control import queues as rows

queues = typer.Typer(
    cls=ListByDefault, add_completion=False, help="How much is where, and which queues are paused."
)

Names = Annotated[
    list[str],
    typer.Argument(metavar="QUEUE", show_default=False, autocompletion=completion.queues),
]


LOOK_S = 2.0


@queues.command("list")
def listed(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again every 2 s, until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the queues; `workshed queues` does the same. A dash is what nobody here knows.

    How many jobs workers hold (unacked) only the management API tells:
    WORKSHED_MANAGEMENT_URL. Exit code 3 when RabbitMQ could not be asked.
    --watch goes on then, and its --json is one value per line.
    """
    with open_database() as conn:
        if watch:
            again(conn, as_json=as_json)
            return
        found, trouble = list_queue_states(conn, require_rabbitmq(), open_management())
    if as_json:
        output.print_json(found)
    else:
        print_states(found)
    for one in found:
        if one.dead_queue:
            output.talk(
                f"{one.name}.dead on RabbitMQ holds {one.dead_queue}: "
                f"`workshed dead requeue {one.name}` puts them back."
            )
    if trouble:
        raise trouble[0]


def print_states(found: list[QueueState]) -> None:
    """Print them as a table."""
    columns = ("queue", "kind/levels", "weight", "ready", "unacked", "workers", "waiting", "dead")
    lines = [
        (
            f"{one.name} (paused)" if one.paused_at else one.name,
            f"{one.kind}/{one.levels}" if one.levels else one.kind,
            *(one.weight, one.ready, one.unacked, one.workers, one.waiting, one.dead),
        )
        for one in found
    ]
    table(columns, lines)


def again(conn: Connection, *, as_json: bool) -> None:
    """Print them again and again; on a terminal, in the place of the last ones."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            found, trouble = list_queue_states(conn, require_rabbitmq(), open_management())
            if as_json:
                print(json.dumps([asdict(one) for one in found], default=plain), flush=True)
            else:
                output.console().clear()  # writes nothing where there is no terminal
                print_states(found)
                print(flush=True)
            for one in trouble:
                output.talk(str(one))
            time.sleep(LOOK_S)


@queues.command()
def pause(names: Names, *, as_json: Json = False) -> None:
    """Let workers start no more jobs of a queue; those that run end, the others stay there."""
    good = ("paused", "was paused")
    with open_database() as conn:
        known, rest = known_queues(conn, names), rows.list_paused(conn)

        def one(queue: str) -> str:
            return good[queue in rest] if rows.pause_queue(conn, queue) else UNKNOWN

        deed = AuditedAction(conn, "queues.pause", good[:1])
        each(known, one, good=good, deed=deed, as_json=as_json, kind="queue")
    talk(f"Workers follow within 2 s; `workshed queues resume {' '.join(names)}` lets them go on.")


@queues.command()
def resume(names: Names, *, as_json: Json = False) -> None:
    """Let workers start jobs of a queue again."""
    good = ("resumed", "was not paused")
    with open_database() as conn:
        known, rest = known_queues(conn, names), rows.list_paused(conn)

        def one(queue: str) -> str:
            return good[queue not in rest] if rows.resume_queue(conn, queue) else UNKNOWN

        deed = AuditedAction(conn, "queues.resume", good[:1])
        each(known, one, good=good, deed=deed, as_json=as_json, kind="queue")


queues.command()(purge)
