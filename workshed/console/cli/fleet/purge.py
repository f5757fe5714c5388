"""`workshed queues purge`: discard the ready jobs of a RabbitMQ queue."""

from typing import Annotated

import typer

from workshed.console.cli.terminal import completion
from workshed.console.cli.terminal.audit import record_action
from workshed.console.cli.terminal.confirm import require_confirmation
from workshed.console.cli.terminal.options import DryRun, Json, Yes
from workshed.console.cli.terminal.output import print_json, print_message
from workshed.console.cli.terminal.progress import show_progress
from workshed.console.errors import NotFoundError
from workshed.console.formatting import format_job_count
from workshed.console.operations import scheduled
from workshed.console.operations.environment import check_queues, open_database, require_rabbitmq
from workshed.console.rabbitmq import purge as purging
from workshed.console.rabbitmq.queue_depths import fetch_depths


def purge(
    name: Annotated[
        str,
        typer.Argument(
            metavar="QUEUE", autocompletion=completion.complete_queues, show_default=False
        ),
    ],
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Discard the ready jobs of QUEUE on RabbitMQ, as many as it reports when the command starts.

    Jobs end one by one, as cancelled: each is recorded, its unique key is
    released, and its batch goes on. Jobs that workers hold and jobs that wait in
    PostgreSQL stay. Unreadable messages become dead jobs.
    """
    broker = require_rabbitmq()
    with open_database() as conn:
        check_queues(conn, [name])
        found = fetch_depths(broker.urls, [name], prefix=broker.prefix)
        if name not in found:
            raise NotFoundError(f"RabbitMQ has no queue {name!r} yet; see `workshed queues`")
        count = found[name].ready
        done = purging.PurgeCounts()
        if count and not dry_run:
            require_confirmation(f"Discard {format_job_count(count)} of {name}", yes=yes)
            try:
                with show_progress(count) as step:
                    purging.purge_queue(broker, conn, name, count, done, step)
            finally:
                bad = done.unreadable
                unreadable = f" {bad} could not be read and are dead." if bad else ""
                said = f"{format_job_count(done.ended)} of {name} discarded.{unreadable}"
                record_action(conn, "queues.purge", {"queue": name}, count=done.count, said=said)
        left = scheduled.count_by_queue(conn).get(name, 0)
    if as_json:
        told = {"queue": name, "found": count, "purged": done.ended, "unreadable": done.unreadable}
        print_json(told)
    else:
        print(count if dry_run else done.ended)
    print_message(
        f"{format_job_count(count)} would be discarded."
        if dry_run
        else f"{format_job_count(done.ended)} discarded."
    )
    if done.unreadable:
        print_message(f"{done.unreadable} could not be read and are dead; see `workshed dead`.")
    if left:
        print_message(
            f"{left} more in PostgreSQL: `workshed scheduled cancel --all --queue {name}`."
        )
