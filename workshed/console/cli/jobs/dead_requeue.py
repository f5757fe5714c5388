"""`workshed dead requeue`: move messages from a dead queue on RabbitMQ back to its queue."""

from collections.abc import Callable
from typing import Annotated

import typer

from workshed.console.cli.terminal import completion
from workshed.console.cli.terminal.audit import record_action
from workshed.console.cli.terminal.confirm import require_confirmation
from workshed.console.cli.terminal.options import DryRun, Json, Yes
from workshed.console.cli.terminal.output import print_json, print_message
from workshed.console.cli.terminal.progress import show_progress
from workshed.console.errors import NotFoundError
from workshed.console.operations.environment import open_database, require_rabbitmq
from workshed.console.rabbitmq.dead_letter_queue import requeue_messages
from workshed.console.rabbitmq.queue_depths import fetch_depths
from workshed.transport.errors import did_you_mean


def requeue(
    name: Annotated[
        str,
        typer.Argument(
            metavar="QUEUE",
            help="The queue, for example emails for emails.dead.",
            autocompletion=completion.complete_queues,
        ),
    ],
    *,
    limit: Annotated[int | None, typer.Option(min=1, help="Requeue at most this many.")] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Requeue the messages in RabbitMQ's QUEUE.dead, whose outcome could not be stored.

    Messages move one by one, so none is lost if this is interrupted. If the
    outcome of a message is already stored, its worker drops it as a duplicate.
    """
    broker = require_rabbitmq("all dead jobs are in PostgreSQL; see `workshed dead retry`")
    urls = broker.urls
    name = name.removesuffix(".dead")
    dead = f"{name}.dead"
    found = fetch_depths(urls, [dead], prefix=broker.prefix)
    if dead not in found:
        hint = did_you_mean(name, broker.declared_queues)
        raise NotFoundError(f"RabbitMQ has no queue {dead!r}{hint}; see `workshed queues`")
    count = min(found[dead].ready, limit or found[dead].ready)
    moved = 0

    def one(step: Callable[[], None]) -> None:
        nonlocal moved
        moved += 1
        step()

    if count and not dry_run:
        with open_database() as conn:  # first, because the audit entry must be writable
            require_confirmation(f"Requeue {count} of {found[dead].ready} in {dead}", yes=yes)
            try:
                with show_progress(count) as step:
                    requeue_messages(
                        urls, name, count, lambda: one(step), broker.signing, broker.prefix
                    )
            finally:
                said = f"{moved} requeued into {name}."
                record_action(conn, "dead.requeue", {"queue": name}, count=moved, said=said)
    if as_json:
        print_json({"queue": name, "found": found[dead].ready, "moved": moved})
    else:
        print(count if dry_run else moved)
    print_message(f"{count} would be requeued." if dry_run else f"{moved} requeued into {name}.")
