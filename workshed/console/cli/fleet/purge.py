"""`workshed queues purge`: discard the ready jobs of a RabbitMQ queue."""

from typing import Annotated

import typer

from workshed.console.cli.terminal import completion
from workshed.console.cli.terminal.audit import note
from workshed.console.cli.terminal.confirm import agreed
from workshed.console.cli.terminal.options import DryRun, Json, Yes
from workshed.console.cli.terminal.output import print_json, talk
from workshed.console.cli.terminal.progress import progress
from workshed.console.errors import NotFoundError
from workshed.console.formatting import jobs
from workshed.console.operations import scheduled
from workshed.console.operations.environment import check_queues, open_database, require_rabbitmq
from workshed.console.rabbitmq import purge as purging
from workshed.console.rabbitmq.queue_depths import queue_depths


def purge(
    name: Annotated[
        str, typer.Argument(metavar="QUEUE", autocompletion=completion.queues, show_default=False)
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
        found = queue_depths(broker.urls, [name], prefix=broker.prefix)
        if name not in found:
            raise NotFoundError(f"RabbitMQ has no queue {name!r} yet; see `workshed queues`")
        count = found[name].ready
        done = purging.Purged()
        if count and not dry_run:
            agreed(f"Discard {jobs(count)} of {name}", yes=yes)
            try:
                with progress(count) as step:
                    purging.purge_queue(broker, conn, name, count, done, step)
            finally:
                bad = done.unreadable
                unreadable = f" {bad} could not be read and are dead." if bad else ""
                said = f"{jobs(done.ended)} of {name} discarded.{unreadable}"
                note(conn, "queues.purge", {"queue": name}, count=done.count, said=said)
        left = scheduled.count_by_queue(conn).get(name, 0)
    if as_json:
        told = {"queue": name, "found": count, "purged": done.ended, "unreadable": done.unreadable}
        print_json(told)
    else:
        print(count if dry_run else done.ended)
    talk(f"{jobs(count)} would be discarded." if dry_run else f"{jobs(done.ended)} discarded.")
    if done.unreadable:
        talk(f"{done.unreadable} could not be read and are dead; see `workshed dead`.")
    if left:
        talk(f"{left} more in PostgreSQL: `workshed scheduled cancel --all --queue {name}`.")
