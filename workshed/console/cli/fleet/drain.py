"""`workshed broker drain`: move the jobs of RabbitMQ to PostgreSQL."""

from dataclasses import asdict

import typer

from workshed.console.cli.terminal.audit import record_action
from workshed.console.cli.terminal.options import Json
from workshed.console.cli.terminal.output import print_json, print_message
from workshed.console.cli.terminal.progress import show_progress
from workshed.console.formatting import format_job_count
from workshed.console.operations.environment import (
    list_queue_names,
    open_database,
    require_rabbitmq,
)
from workshed.console.rabbitmq.drain import DrainCounts, drain_queue
from workshed.console.rabbitmq.queue_depths import fetch_depths
from workshed.database.postgres import Connection

INSTEAD = "set it to the URL of the RabbitMQ whose jobs this command is to store"


def drain(*, as_json: Json = False) -> None:
    """Store the ready jobs of RabbitMQ's queues in PostgreSQL, to go on without RabbitMQ.

    Run it with the old WORKSHED_BROKER_URL once all senders, relays and workers use
    postgresql:, because a relay would publish the jobs again. Messages of a dead
    queue become dead jobs. A message is acknowledged once it is stored, so you can
    kill this command at any time and start it again. It exits with 1 while other
    programs use a queue: run it again once they have stopped.
    """
    broker = require_rabbitmq(INSTEAD)
    with open_database() as conn:
        names = list_queue_names(conn)
        depths = fetch_depths(broker.urls, names, prefix=broker.prefix)
        drained = [DrainCounts(name) for name in names if name in depths]
        try:
            with show_progress(sum(depths[one.queue].ready for one in drained)) as step:
                for counts in drained:
                    drain_queue(broker, conn, counts, step)
        finally:
            record(conn, drained)
    if as_json:
        print_json([asdict(counts) for counts in drained])
    else:
        for counts in drained:
            print(f"{counts.queue}  {counts.stored + counts.released}")
    print_message(f"{describe(drained)}.")
    if busy := [counts.queue for counts in drained if not counts.is_over]:
        print_message(
            f"{', '.join(busy)}: programs still use RabbitMQ. Stop them, and run this again for "
            "what they leave there."
        )
        raise typer.Exit(1)


def describe(drained: list[DrainCounts]) -> str:
    """Say how many jobs were moved."""
    said = f"{format_job_count(sum(one.stored + one.released for one in drained))} moved"
    if dead := sum(one.dead for one in drained):
        said += f"; {dead} are dead, see `workshed dead`"
    return said


def record(conn: Connection, drained: list[DrainCounts]) -> None:
    """Write the audit entry, also if the command was interrupted."""
    about = {one.queue: one.stored + one.released + one.dead for one in drained}
    record_action(
        conn,
        "broker.drain",
        {"queues": about},
        count=sum(about.values()),
        said=f"{describe(drained)}.",
    )
