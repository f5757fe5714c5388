"""`workshed scheduled`: jobs that wait in PostgreSQL."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

import typer

from workshed.console.cli.jobs import job
from workshed.console.cli.jobs.cancel import cancel
from workshed.console.cli.jobs.cancel_rules import rules
from workshed.console.cli.terminal import output
from workshed.console.cli.terminal.bulk import run_operation
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import ActorName, Ids, Json, Limit, QueueName
from workshed.console.cli.terminal.suggestions import warn_unknown_filter
from workshed.console.errors import NotFoundError
from workshed.console.formatting import (
    DURATION_METAVAR,
    TIME_METAVAR,
    format_due,
    parse_duration,
    parse_time,
)
from workshed.console.operations import scheduled as waiting
from workshed.console.operations.environment import open_database
from workshed.console.operations.message_body import body_as_call, body_as_json
from workshed.console.operations.redaction import redact_rows
from workshed.database.postgres import database_now
from workshed.jobs.history import attempts
from workshed.jobs.outbox import schedule

scheduled = typer.Typer(
    cls=ListByDefault,
    add_completion=False,
    help="List, move or cancel jobs that are not due, or not sent yet.",
)


@scheduled.command("list")
def list_scheduled(
    *,
    actor: ActorName = None,
    queue: QueueName = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List waiting jobs, the next due first; `workshed scheduled` does the same."""
    with open_database() as conn:
        found = schedule.list_scheduled(conn, actor=actor, queue=queue, limit=limit + 1)
        rows = redact_rows(conn, found)
        now = database_now(conn)
        if not found:
            warn_unknown_filter(conn, actor=actor, queue=queue)
    more, rows = len(rows) > limit, rows[:limit]
    if as_json:
        output.print_json([asdict(row) | body_as_json(row.body) for row in rows])
    elif rows:
        jobs = (f"{body_as_call(row.actor, row.body)}\n{row.queue}, {row.reason}" for row in rows)
        on_its_way = (
            "on its way" if row.taken or row.reason == "outbox_lease" else None for row in rows
        )
        when = (
            way or format_due(row.due_at, now) for way, row in zip(on_its_way, rows, strict=True)
        )
        ids = (row.message_id for row in rows)
        output.print_table(
            ("message id", "job", "due"), zip(ids, jobs, when, strict=True), elastic=1
        )
    else:
        output.print_message("No waiting jobs.")
    if more:
        output.print_message(f"More than {limit} jobs wait; use --limit {limit * 10} to see more.")


@scheduled.command("show")
def show_scheduled(
    message_id: Annotated[str, typer.Argument(metavar="ID")], *, as_json: Json = False
) -> None:
    """Show a waiting job with its body and its attempts so far."""
    with open_database() as conn:
        row = waiting.get_scheduled(conn, message_id)
        if row is None:
            raise NotFoundError(
                f"no waiting job has the id {message_id!r}; see `workshed scheduled`"
            )
        [row] = redact_rows(conn, [row])
        tried = attempts.list_job_attempts(conn, message_id)
        now = database_now(conn)
    if as_json:
        output.print_json(asdict(row) | body_as_json(row.body) | {"attempts": tried})
        return
    when = f"{format_due(row.due_at, now)}, {row.due_at:%Y-%m-%d %H:%M:%S %Z}"
    known = {
        "message id": row.message_id,
        "actor": row.actor,
        "queue": row.queue,
        "state": row.state,
    }
    job.print_job_details(
        {**known, "due": when, "stored as": row.reason}.items(), row.body, tried, now
    )


@scheduled.command()
def run(ids: Ids, *, as_json: Json = False) -> None:
    """Make waiting jobs due now."""
    with open_database() as conn:
        run_operation(conn, waiting.RUN, ids, as_json=as_json)


@scheduled.command()
def move(
    ids: Ids,
    *,
    at: Annotated[datetime | None, typer.Option(parser=parse_time, metavar=TIME_METAVAR)] = None,
    in_: Annotated[
        timedelta | None, typer.Option("--in", parser=parse_duration, metavar=DURATION_METAVAR)
    ] = None,
    as_json: Json = False,
) -> None:
    """Change the due time of waiting jobs; a job already on its way is not moved (exit code 1)."""
    if (at is None) == (in_ is None):
        raise typer.BadParameter("give either --at or --in")
    with open_database() as conn:
        to = at or database_now(conn) + (in_ or timedelta())
        run_operation(conn, waiting.move_to(to), ids, as_json=as_json)


scheduled.command()(cancel)
scheduled.add_typer(rules, name="rules")
