"""`workshed scheduled cancel`: jobs that are not to run, or not again."""

from typing import Annotated

import typer

from workshed.console.cli.terminal.audit import AuditedAction, chosen, note
from workshed.console.cli.terminal.bulk import UNKNOWN, each
from workshed.console.cli.terminal.confirm import agreed
from workshed.console.cli.terminal.options import (
    ActorName,
    All,
    DryRun,
    Json,
    MaybeIds,
    OlderThan,
    QueueName,
    TagName,
    Yes,
)
from workshed.console.cli.terminal.output import talk
from workshed.console.cli.terminal.suggestions import doubt
from workshed.console.formatting import jobs
from workshed.console.operations.environment import open_database
from workshed.console.operations.scheduled import get_scheduled
from workshed.db import Connection
from workshed.jobs.control import cancel_rules, cancellations
from workshed.jobs.control import cancel_rules as rows
from workshed.jobs.control.cancel_rules import JobFilter

CANCELLED = ("deleted", "will be skipped", "told to stop", "would be cancelled")


def cancel(  # noqa: PLR0913 -- an option each
    ids: MaybeIds = None,
    *,
    every: All = False,
    actor: ActorName = None,
    queue: QueueName = None,
    tag: TagName = None,
    older_than: OlderThan = None,
    sent: Annotated[bool, typer.Option("--sent", help="Also those RabbitMQ may have.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let jobs not run, by id or --all that fit: waiting ones are deleted.

    One on its way is skipped when it starts; one that runs is told to stop.
    A job that was sent without a delay has no row here. With --sent its id is
    noted all the same; --all --sent leaves a rule, under which fall those that
    fit and were sent before now, wherever they are.
    """
    which = rows.JobFilter(actor, queue, tag, older_than)
    refuse_unclear(ids or [], which, every=every, sent=sent)
    with open_database() as conn:
        wanted = rows.list_waiting_ids(conn, which) if every else ids or []
        if not wanted:
            doubt(conn, actor=actor, queue=queue)
        known = {one for one in wanted if every or sent or get_scheduled(conn, one)}
        rule = every and sent
        if (known or rule) and not dry_run:
            also = ", and all that RabbitMQ has of them" if rule else ""
            agreed(f"Cancel {jobs(len(known))}{also}", yes=yes)
        if rule:  # first: what a relay takes meanwhile falls under it
            talk(leave_rule(conn, which, dry_run=dry_run))

        def one(message_id: str) -> str:
            if message_id not in known or dry_run:
                return "would be cancelled" if message_id in known else UNKNOWN
            with conn.transaction():
                return cancellations.cancel(conn, message_id)

        about = chosen(which) if every else None
        deed = None if dry_run else AuditedAction(conn, "scheduled.cancel", CANCELLED, about)
        each(wanted, one, good=CANCELLED, deed=deed, as_json=as_json)
        if every:
            talk(f"{jobs(len(wanted))} {'would be' if dry_run else 'were'} cancelled.")


def refuse_unclear(ids: list[str], which: JobFilter, *, every: bool, sent: bool) -> None:
    """Refuse what is not plainly the one or the other."""
    if every == bool(ids):
        raise typer.BadParameter("say which: their ids, or --all")
    if ids and which != JobFilter():
        raise typer.BadParameter("--actor, --queue, --tag and --older-than choose among --all")
    if every and sent and not which.is_bounded:
        raise typer.BadParameter("--all --sent needs an --actor, a --queue or a --tag")


def leave_rule(conn: Connection, which: JobFilter, *, dry_run: bool) -> str:
    """Make the rule; return what to say of it."""
    if dry_run:
        return "A rule would cancel what RabbitMQ has of them."
    with conn.transaction():
        made = cancel_rules.create_rule(conn, which)
        said = f"Rule {made.id} cancels what RabbitMQ has of them."
        note(conn, "scheduled.rules.make", {"rule": made.id, **chosen(which)}, said=said)
    return (
        f"Rule {made.id} cancels what RabbitMQ has of them; "
        f"`workshed scheduled rules delete {made.id}` takes it back."
    )
