"""`workshed dead`: jobs that failed permanently and run again only if an operator retries them."""

from typing import Annotated

import typer

from workshed.console.cli.jobs import job
from workshed.console.cli.jobs.dead_requeue import requeue
from workshed.console.cli.jobs.dead_retry import discard, retry
from workshed.console.cli.jobs.dead_tables import print_dead, print_groups, warn_dead_queues
from workshed.console.cli.terminal import output
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import (
    ActorName,
    ErrorName,
    Json,
    Limit,
    LocationName,
    QueueName,
    Since,
)
from workshed.console.cli.terminal.output import print_message
from workshed.console.cli.terminal.suggestions import warn_unknown_filter
from workshed.console.errors import NotFoundError
from workshed.console.formatting import format_ago
from workshed.console.operations.dead_jobs import as_data
from workshed.console.operations.environment import open_database
from workshed.console.operations.redaction import redact_rows
from workshed.database.postgres import database_now
from workshed.jobs.dead import dead_jobs as rows
from workshed.jobs.history import attempts

dead = typer.Typer(
    cls=ListByDefault,
    add_completion=False,
    help="List, retry or discard jobs that failed permanently.",
)


@dead.command("list")
def list_dead(
    *,
    queue: QueueName = None,
    actor: ActorName = None,
    error: ErrorName = None,
    error_location: LocationName = None,
    since: Since = None,
    limit: Limit = 100,
    group: Annotated[bool, typer.Option("--group", help="Count by error class.")] = False,
    as_json: Json = False,
) -> None:
    """List dead jobs, the latest first; `workshed dead` does the same."""
    which = rows.DeadFilter(queue, actor, error, since, error_location)
    with open_database() as conn:
        count = rows.count_dead_jobs(conn, which)
        if group:
            print_groups(conn, which, as_json=as_json)
        else:
            print_dead(conn, which, limit, as_json=as_json)
        if not count:
            print_message("No dead jobs.")
            warn_unknown_filter(
                conn, actor=actor, queue=queue, error=error, error_location=error_location
            )
        elif count > limit and not group:
            print_message(f"{limit} of {count} shown; --limit shows more, --group counts by error.")
        warn_dead_queues(conn)


@dead.command()
def show(
    message_id: Annotated[str, typer.Argument(metavar="ID")], *, as_json: Json = False
) -> None:
    """Show a dead job with its body and all its attempts."""
    with open_database() as conn:
        row = rows.get_dead_job(conn, message_id)
        if row is None:
            raise NotFoundError(f"no dead job has the id {message_id!r}; see `workshed dead`")
        [row] = redact_rows(conn, [row])
        tried = attempts.list_job_attempts(conn, message_id)
        now = database_now(conn)
    if as_json:
        output.print_json(as_data(row) | {"attempts": tried})
        return
    when = f"{format_ago(row.died_at, now)}, {row.died_at:%Y-%m-%d %H:%M:%S %Z}"
    known = {"message id": row.message_id, "actor": row.actor, "queue": row.queue, "died": when}
    job.print_job_details({**known, "reason": row.reason}.items(), row.body, tried, now)
    output.print_message(f"\nTo retry it: `workshed dead retry {message_id}`.")


dead.command()(retry)
dead.command()(discard)
dead.command()(requeue)
