"""`workshed queues`: how much is where, and which queues rest."""

from typing import Annotated

import typer

from console.cli import completing
from console.cli.listing import ListByDefault
from console.cli.options import Json

queues = typer.Typer(
    cls=ListByDefault, add_completion=False, help="How much is where, and which queues are paused."
)

Names = Annotated[
    list[str],
    typer.Argument(metavar="QUEUE", show_default=False, autocompletion=completing.queues),
]


@queues.command("list")
def listed(*, as_json: Json = False) -> None:
    """List the queues; `workshed queues` does the same. A dash is what nobody here knows.

    How many jobs workers hold (unacked) only the management API tells:
    WORKSHED_MANAGEMENT_URL. Exit code 3 when RabbitMQ could not be asked.
    """
    from console.cli import output
    from console.program import database, management, rabbitmq
    from console.queue_states import states

    with database() as conn:
        found, trouble = states(conn, rabbitmq(), management())
    if as_json:
        output.print_json(found)
    else:
        columns = ("queue", "kind/levels", "weight", "ready", "unacked", "workers", "waiting")
        lines = [
            (
                f"{one.name} (paused)" if one.paused_at else one.name,
                f"{one.kind}/{one.levels}" if one.levels else one.kind,
                *(one.weight, one.ready, one.unacked, one.workers, one.waiting, one.dead),
            )
            for one in found
        ]
        output.table((*columns, "dead"), lines)
    for one in found:
        if one.dead_queue:
            output.talk(
                f"{one.name}.dead on RabbitMQ holds {one.dead_queue}: "
                f"`workshed dead requeue {one.name}` puts them back."
            )
    if trouble:
        raise trouble[0]


@queues.command()
def pause(names: Names) -> None:
    """Let workers start no more jobs of a queue; those that run end, the others stay there."""
    from console.cli.output import talk
    from console.program import database, known_queues
    from workshed.jobs import queues as rows

    with database() as conn:
        for queue in known_queues(conn, names):
            rows.pause(conn, queue)
            print(f"{queue}  paused")
    talk(f"Workers follow within 2 s; `workshed queues resume {' '.join(names)}` lets them go on.")


@queues.command()
def resume(names: Names) -> None:
    """Let workers start jobs of a queue again."""
    from console.program import database, known_queues
    from workshed.jobs import queues as rows

    with database() as conn:
        for queue in known_queues(conn, names):
            rows.resume(conn, queue)
            print(f"{queue}  resumed")
