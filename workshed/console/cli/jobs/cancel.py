"""`workshed scheduled cancel`: keep jobs from running, or from running again."""

from typing import Annotated

import typer

from workshed.console.cli.terminal.audit import AuditedAction, filter_details, record_action
from workshed.console.cli.terminal.bulk import UNKNOWN, for_each
from workshed.console.cli.terminal.confirm import require_confirmation
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
from workshed.console.cli.terminal.output import print_message
from workshed.console.cli.terminal.suggestions import warn_unknown_filter
from workshed.console.formatting import format_job_count
from workshed.console.operations.environment import open_database
from workshed.console.operations.scheduled import get_scheduled
from workshed.database.postgres import Connection
from workshed.jobs.control import cancel_rules, cancellations
from workshed.jobs.control import cancel_rules as rows
from workshed.jobs.control.cancel_rules import JobFilter

CANCEL_ANSWERS = ("deleted", "will be skipped", "told to stop", "would be cancelled")


def cancel(  # noqa: PLR0913 -- an option each
    ids: MaybeIds = None,
    *,
    every: All = False,
    actor: ActorName = None,
    queue: QueueName = None,
    tag: TagName = None,
    older_than: OlderThan = None,
    sent: Annotated[
        bool, typer.Option("--sent", help="Include jobs that may be on RabbitMQ.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Cancel jobs, by id or --all that match the filters. Waiting jobs are deleted.

    A job on its way is skipped when it starts; a running job is asked to stop.

    A job sent without a delay has no row here. With --sent its id is cancelled
    anyway. --all --sent creates a rule that cancels every matching job sent
    before now, wherever it is.
    """
    which = rows.JobFilter(actor, queue, tag, older_than)
    require_selection(ids or [], which, every=every, sent=sent)
    with open_database() as conn:
        wanted = rows.list_waiting_ids(conn, which) if every else ids or []
        if not wanted:
            warn_unknown_filter(conn, actor=actor, queue=queue)
        known = {one for one in wanted if every or sent or get_scheduled(conn, one)}
        rule = every and sent
        if (known or rule) and not dry_run:
            also = ", and all matching jobs on RabbitMQ" if rule else ""
            require_confirmation(f"Cancel {format_job_count(len(known))}{also}", yes=yes)
        if rule:  # first, so that the rule covers rows that a relay claims meanwhile
            print_message(add_rule(conn, which, dry_run=dry_run))

        def one(message_id: str) -> str:
            if message_id not in known or dry_run:
                return "would be cancelled" if message_id in known else UNKNOWN
            with conn.transaction():
                return cancellations.cancel(conn, message_id)

        about = filter_details(which) if every else None
        deed = None if dry_run else AuditedAction(conn, "scheduled.cancel", CANCEL_ANSWERS, about)
        for_each(wanted, one, good=CANCEL_ANSWERS, deed=deed, as_json=as_json)
        if every:
            print_message(
                f"{format_job_count(len(wanted))} {'would be' if dry_run else 'were'} cancelled."
            )


def require_selection(ids: list[str], which: JobFilter, *, every: bool, sent: bool) -> None:
    """Raise `typer.BadParameter` unless it is clear which jobs are meant."""
    if every == bool(ids):
        raise typer.BadParameter("give either ids or --all")
    if ids and which != JobFilter():
        raise typer.BadParameter("--actor, --queue, --tag and --older-than need --all")
    if every and sent and not which.is_bounded:
        raise typer.BadParameter("--all --sent needs an --actor, a --queue or a --tag")


def add_rule(conn: Connection, which: JobFilter, *, dry_run: bool) -> str:
    """Create the rule; return a message about it."""
    if dry_run:
        return "A rule would cancel matching jobs on RabbitMQ."
    with conn.transaction():
        made = cancel_rules.create_rule(conn, which)
        said = f"Rule {made.id} cancels matching jobs on RabbitMQ."
        record_action(
            conn, "scheduled.rules.make", {"rule": made.id, **filter_details(which)}, said=said
        )
    return (
        f"Rule {made.id} cancels matching jobs on RabbitMQ. "
        f"To delete it: `workshed scheduled rules delete {made.id}`."
    )
