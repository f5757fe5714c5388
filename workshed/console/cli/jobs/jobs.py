"""`workshed jobs`: the history of runs."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer

from workshed.console.cli.terminal.options import ActorName, Json, Limit, QueueName, TagName
from workshed.console.cli.terminal.output import print_json, print_message, print_table
from workshed.console.cli.terminal.suggestions import warn_unknown_filter
from workshed.console.formatting import DURATION_METAVAR, format_ago, format_seconds, parse_duration
from workshed.console.operations import history
from workshed.console.operations.environment import open_database
from workshed.console.operations.history import run_as_call
from workshed.console.text import one_line_error
from workshed.database.postgres import database_now
from workshed.jobs.history import runs
from workshed.jobs.history.runs import Run
from workshed.jobs.outcomes import FAILED

A_DAY = timedelta(days=1)


def jobs(  # noqa: PLR0913 -- an option each
    *,
    actor: ActorName = None,
    queue: QueueName = None,
    outcome: Annotated[
        list[str] | None,
        typer.Option(help="Only this outcome, for example succeeded, retry or dead; repeatable."),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only runs that failed: retry, dead, poison.")
    ] = False,
    error: Annotated[str | None, typer.Option(help="Only errors of this class.")] = None,
    tag: TagName = None,
    parent: Annotated[
        str | None, typer.Option(metavar="ID", help="Only jobs that this job has sent.")
    ] = None,
    argument: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only with this argument; repeatable."),
    ] = None,
    since: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_duration,
            metavar=DURATION_METAVAR,
            help="Only runs within this time before now.",
        ),
    ] = None,
    longer_than: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_duration, metavar=DURATION_METAVAR, help="Only runs at least this long."
        ),
    ] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List the runs of jobs, the latest first; `workshed job ID` shows one in detail.

    For jobs that wait in PostgreSQL, see `workshed scheduled`; for the number of
    jobs on RabbitMQ, see `workshed queues`.
    """
    if failed and outcome:
        raise typer.BadParameter("give --failed or --outcome, not both")
    which = runs.RunFilter(
        actor=actor,
        queue=queue,
        outcomes=FAILED if failed else history.parse_outcomes(outcome or []),
        error=error,
        tag=tag,
        parent=parent,
        arguments=history.parse_arguments(argument or []),
        since=since,
        longer_than=longer_than,
    )
    with open_database() as conn:
        found = runs.list_runs(conn, which, limit=limit + 1)
        lost = runs.count_dropped(conn, since or A_DAY)
        now = database_now(conn)
        if not found:
            warn_unknown_filter(conn, actor=actor, queue=queue)
    more, found = len(found) > limit, found[:limit]
    if as_json:
        print_json([asdict(run) for run in found])
    elif found:
        lines = [_format_run(run, now) for run in found]
        print_table(("message id", "job", "outcome", "ended", "waited", "ran"), lines, elastic=1)
    else:
        print_message("No matching runs in the history.")
    if more:
        print_message(f"There are more; use --limit {limit * 10}, or a narrower filter.")
    if lost:
        print_message(f"{lost} runs were not recorded, because PostgreSQL was down or slow.")


def _format_run(run: Run, now: Any) -> tuple[object, ...]:
    why = one_line_error(run.error_class, run.reason)
    title = f"{run_as_call(run)}\n{why}" if why else run_as_call(run)
    return (
        run.message_id,
        title,
        run.outcome,
        format_ago(run.recorded_at, now),
        format_seconds(run.queue_wait_s),
        format_seconds(run.duration_s),
    )
