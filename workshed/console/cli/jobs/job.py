"""`workshed job ID`: one job, wherever it is."""

import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from workshed.console.cli.jobs import follow as following
from workshed.console.cli.terminal.bulk import run_operation
from workshed.console.cli.terminal.options import DryRun, Json, Yes
from workshed.console.cli.terminal.output import print_fields, print_json, print_message
from workshed.console.errors import NotFoundError
from workshed.console.formatting import format_ago, format_due
from workshed.console.operations import timeline
from workshed.console.operations.cancel import CANCEL_ONE
from workshed.console.operations.environment import open_database
from workshed.console.operations.history import run_as_call
from workshed.console.operations.message_body import body_as_json, body_as_text
from workshed.console.operations.timeline import KnownJob
from workshed.console.text import escape_control
from workshed.database.postgres import Connection, database_now
from workshed.jobs.control import cancellations
from workshed.jobs.history.attempts import Attempt


class IdFirst(TyperGroup):
    """Allow `workshed job ID --json`: a group takes any word after its argument for a command."""

    # `Any` below: typer's context class is in a private module.

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move the options before the id, unless a command follows it."""
        if len(args) > 1 and all(word.startswith("-") for word in args[1:]):
            args = [*args[1:], args[0]]
        return super().parse_args(ctx, args)


job = typer.Typer(cls=IdFirst, add_completion=False, invoke_without_command=True)

NOTIFY_TIMEOUT_S = 2.5
"""A worker polls for cancellations of its running jobs every second."""
POLL_S = 0.1


@job.callback()
def show_job(
    context: typer.Context,
    message_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print events until the job has ended.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a job with its timeline, wherever it is; follow it, or cancel it.

    A job sent without a delay that has not started is on RabbitMQ and has no row
    here; you can still cancel and follow it.

    --follow exits with 0 if the job succeeds, else with 1; with --json it prints
    one value per line. It needs WORKSHED_HISTORY=all to see that a job succeeded.
    """
    context.obj = message_id
    if context.invoked_subcommand:  # `cancel`: skip the imports below
        return

    with open_database() as conn:
        if follow:
            following.follow_job(conn, message_id, as_json=as_json)
            return
        known, now = timeline.load_job(conn, message_id), database_now(conn)
    if not known.is_known:
        raise NotFoundError(timeline.describe_unknown(message_id))
    if as_json:
        row = known.row
        body = {} if row is None else asdict(row) | body_as_json(row.body)
        rest = {name: getattr(known, name) for name in ("attempts", "runs", "timeline")}
        states = {"message_id": message_id, "state": known.state, "cancelled": known.cancelled}
        print_json(body | states | rest)
    else:
        print_known_job(known, now)


@job.command()
def cancel(
    context: typer.Context, *, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Cancel a job, so that it does not run, or not again.

    A waiting job is deleted. A job on RabbitMQ is skipped when it starts. A
    running job is asked to stop; the request reaches it within 2 s.
    """
    message_id: str = context.obj
    with open_database() as conn:
        run_operation(
            conn,
            CANCEL_ONE,
            [message_id],
            as_json=as_json,
            yes=yes,
            dry_run=dry_run,
            details={"id": message_id},
            finish=lambda message_id, answer: wait_until_notified(conn, message_id, answer),
        )


def wait_until_notified(conn: Connection, message_id: str, answer: str) -> str:
    """Wait for the worker that runs the job to see the cancellation; return the answer then."""
    until = time.monotonic() + NOTIFY_TIMEOUT_S
    while answer == "will be skipped" and time.monotonic() < until:
        if cancellations.list_notified(conn, [message_id]):
            return "asked to stop"
        time.sleep(POLL_S)
    return answer


def print_known_job(known: KnownJob, now: datetime) -> None:
    """Print the state of a job, its timeline, its message, and its last traceback."""
    pairs: list[tuple[str, object]] = [("message id", known.message_id), ("state", known.state)]
    one = known.row or (known.runs[-1] if known.runs else None)
    if one is not None:
        pairs += [("actor", one.actor), ("queue", one.queue)]
    if known.runs:
        last = known.runs[-1]
        pairs += [("job", run_as_call(last)), ("tags", ", ".join(last.tags) or None)]
        pairs += [("trace", last.trace), ("release", last.release or None)]
    if known.cancelled:
        pairs.append(("cancelled", "yes"))
    if known.waiting is not None:
        pairs.append(("due", format_due(known.waiting.due_at, now)))
    print_fields(pair for pair in pairs if pair[1] is not None)
    print()
    print_fields(
        (f"{event.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"  {event.what}", event.details)
        for event in known.timeline
    )
    if known.row is not None:
        print(f"\n{escape_control(body_as_text(known.row.body))}")
    texts = [one.traceback for one in known.attempts if one.traceback]
    texts = texts or [run.traceback for run in known.runs if run.traceback]
    if texts:
        print(f"\n{escape_control(texts[-1]).rstrip()}")
    if known.dead is not None:
        print_message(f"\nTo retry it: `workshed dead retry {known.message_id}`.")


def print_job_details(
    pairs: Iterable[tuple[str, object]],
    body: str | bytes,
    tried: list[Attempt],
    now: datetime,
) -> None:
    """Print the fields, the body and the attempts of a job."""
    print_fields(pairs)
    print(f"\n{escape_control(body_as_text(body))}")
    print_attempts(tried, now)


def print_attempts(tried: list[Attempt], now: datetime) -> None:
    """Print attempts, the oldest first."""
    for one in tried:
        when = f"{format_ago(one.ended_at, now)}, {one.ended_at:%Y-%m-%d %H:%M:%S %Z}"
        print(f"\nattempt {one.attempt}: {one.outcome} {when}\n{escape_control(one.reason)}")
        if one.traceback:
            print(escape_control(one.traceback).rstrip())
