"""`workshed scheduled cancel`: keep jobs from running, or from running again."""

from typing import Annotated

import typer

from workshed.console.cli.terminal.audit import record_action
from workshed.console.cli.terminal.bulk import confirm_operation, run_operation
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
from workshed.console.operations.cancel import CANCEL_ANY, CANCEL_STORED
from workshed.console.operations.environment import has_rabbitmq, open_database
from workshed.console.operations.operation import filter_details
from workshed.database.postgres import Connection
from workshed.jobs.control import cancel_rules
from workshed.jobs.control.cancel_rules import JobFilter


def cancel(  # noqa: PLR0913 -- an option each
    ids: MaybeIds = None,
    *,
    every: All = False,
    actor: ActorName = None,
    queue: QueueName = None,
    tag: TagName = None,
    older_than: OlderThan = None,
    sent: Annotated[
        bool, typer.Option("--sent", help="Include jobs on RabbitMQ, and with workers.")
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
    which = JobFilter(actor, queue, tag, older_than)
    require_selection(ids or [], which, every=every, sent=sent)
    with open_database() as conn:
        wanted = cancel_rules.list_waiting_ids(conn, which) if every else ids or []
        if not wanted:
            warn_unknown_filter(conn, actor=actor, queue=queue)
        operation = CANCEL_ANY if every or sent else CANCEL_STORED
        if every and sent:
            also = f", and all matching jobs {describe_sent()}"
            found = operation.find(conn, wanted)
            confirm_operation(conn, operation, found, yes=yes or dry_run, also=also)
            # First, so that the rule covers rows that a relay claims meanwhile.
            print_message(add_rule(conn, which, dry_run=dry_run))
        run_operation(
            conn,
            operation,
            wanted,
            as_json=as_json,
            yes=yes or (every and sent),
            dry_run=dry_run,
            details=filter_details(which) if every else None,
            is_filtered=every,
        )


def require_selection(ids: list[str], job_filter: JobFilter, *, every: bool, sent: bool) -> None:
    """Raise `typer.BadParameter` unless it is clear which jobs are meant."""
    if every == bool(ids):
        raise typer.BadParameter("give either ids or --all")
    if ids and job_filter != JobFilter():
        raise typer.BadParameter("--actor, --queue, --tag and --older-than need --all")
    if every and sent and not job_filter.is_bounded:
        raise typer.BadParameter("--all --sent needs an --actor, a --queue or a --tag")


def describe_sent() -> str:
    """Say where jobs are that have no row which can be deleted."""
    return "on RabbitMQ" if has_rabbitmq() else "with workers"


def add_rule(conn: Connection, job_filter: JobFilter, *, dry_run: bool) -> str:
    """Create the rule; return a message about it."""
    if dry_run:
        return f"A rule would cancel matching jobs {describe_sent()}."
    with conn.transaction():
        made = cancel_rules.create_rule(conn, job_filter)
        said = f"Rule {made.id} cancels matching jobs {describe_sent()}."
        record_action(
            conn, "scheduled.rules.make", {"rule": made.id, **filter_details(job_filter)}, said=said
        )
    return (
        f"Rule {made.id} cancels matching jobs {describe_sent()}. "
        f"To delete it: `workshed scheduled rules delete {made.id}`."
    )
