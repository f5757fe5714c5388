"""`workshed enqueue`: send a job by the name of its actor."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import dramatiq
import psycopg
import typer

from workshed import schedule
from workshed.console.cli.jobs.wait import await_end
from workshed.console.cli.terminal import argument_types, completion, output
from workshed.console.cli.terminal.audit import record_action
from workshed.console.cli.terminal.options import ActorPackages
from workshed.console.cli.terminal.output import print_message
from workshed.console.errors import UnknownActorError
from workshed.console.formatting import (
    DURATION_METAVAR,
    TIME_METAVAR,
    format_due,
    parse_duration,
    parse_time,
)
from workshed.console.operations.arguments import split_arguments
from workshed.console.operations.environment import import_actors, open_database, require_broker
from workshed.database.postgres import Connection, database_now
from workshed.errors import WorkshedError


def enqueue(  # noqa: PLR0913 -- an option each
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The actor's name.",
            autocompletion=completion.complete_imported_actors,
        ),
    ],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="ARG|KEY=ARG", show_default=False)
    ] = None,
    *,
    delay: Annotated[
        timedelta | None,
        typer.Option(
            "--in",
            "--delay",
            parser=parse_duration,
            metavar=DURATION_METAVAR,
            help="Delay from now, for example 2h.",
        ),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(parser=parse_time, metavar=TIME_METAVAR, help="Due time, with a time zone."),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(help="Default: the actor's queue.", autocompletion=completion.complete_queues),
    ] = None,
    priority: Annotated[
        int | None, typer.Option(min=0, max=255, help="Priority in the queue; higher runs first.")
    ] = None,
    packages: ActorPackages = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")] = False,
    timeout: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_duration,
            metavar=DURATION_METAVAR,
            help="Longest wait with --wait; the job continues after it.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send a job and print its message id.

    An ARG that parses as JSON is JSON: 7, true, '"7"', '["a"]'. Anything else is
    a string. KEY=ARG passes a keyword argument; write a string that contains =
    as JSON: '"a=b"'. Put -- before a negative number.

    With --wait, the exit code is 0 if the job succeeds, 1 if it is dead,
    discarded or cancelled, and 124 if it does not end within --timeout. The
    result is printed if the actor stores it (store_results=True).
    """
    if delay is not None and at is not None:
        raise typer.BadParameter("give --in or --at, not both")
    if timeout is not None and not wait:
        raise typer.BadParameter("--timeout needs --wait")
    options: dict[str, Any] = {"awaited": True} if wait else {}
    if priority is not None:
        options["broker_priority"] = priority
    wanted = build_message(name, words or [], queue, options, packages)
    message, due_at, said = send_message(wanted, delay, at)
    sent = {"message_id": message.message_id, "queue": message.queue_name, "due_at": due_at}
    if not as_json:
        print(message.message_id, flush=True)
    elif not wait:
        output.print_json(sent)
    output.print_message(f"{name} on {message.queue_name}: {said}")
    if wait and message.message_id != wanted.message_id:
        raise WorkshedError(f"not sent: job {message.message_id} holds its unique key")
    if wait:
        await_end(message, timeout, sent if as_json else None)


def build_message(
    name: str,
    words: list[str],
    queue: str | None,
    options: dict[str, Any],
    packages: list[str] | None,
) -> dramatiq.Message[Any]:
    """Build the message with its actor.

    Raises `UnknownActorError`, `InvalidArgumentError`.
    """
    broker = require_broker()
    imported = import_actors(packages or ())
    if name not in broker.actors:
        raise UnknownActorError(name, broker.actors, imported)
    args, kwargs = split_arguments(words)
    actor = broker.get_actor(name)
    argument_types.check_arguments(actor, args, kwargs)
    message = actor.message_with_options(args=args, kwargs=kwargs, **options)
    return message.copy(queue_name=queue or message.queue_name)


def send_message(
    message: dramatiq.Message[Any], delay: timedelta | None, at: datetime | None
) -> tuple[dramatiq.Message[Any], datetime | None, str]:
    """Send a message now, or schedule it; return it, its due time, and a text that says so."""
    if delay is None and at is None:
        broker = require_broker()
        try:
            sent = broker.enqueue(message)
        except psycopg.Error:
            with open_database():  # reports missing migrations, if that is the cause
                raise
        finally:
            broker.close()
        try_record_send(sent, message)
        return sent, None, "on its way"
    with open_database() as conn, conn.transaction():
        now = database_now(conn)
        due_at = at or now + (delay or timedelta())
        sent = schedule.send(conn, message, at=due_at)
        record_send(conn, sent, message)
    return sent, due_at, f"due {format_due(due_at, now)}"


def try_record_send(sent: dramatiq.Message[Any], requested: dramatiq.Message[Any]) -> None:
    """Write the audit entry; only warn if that fails, because the job is sent already."""
    try:
        with open_database() as conn:
            record_send(conn, sent, requested)
    except WorkshedError as err:
        print_message(f"The job is sent, but the audit entry could not be written: {err}")


def record_send(
    conn: Connection, sent: dramatiq.Message[Any], requested: dramatiq.Message[Any]
) -> None:
    """Write the audit entry, without arguments, which may be secret or personal."""
    about = {"id": sent.message_id, "actor": sent.actor_name, "queue": sent.queue_name}
    count = int(sent.message_id == requested.message_id)  # else another job holds its unique key
    said = f"{sent.actor_name} sent by hand to {sent.queue_name}."
    record_action(conn, "enqueue", about, count=count, said=said)
