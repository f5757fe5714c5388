"""Retry or discard dead jobs, by id or all that match a filter."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from workshed.console.cli.terminal.audit import AuditedAction
from workshed.console.cli.terminal.audit import filter_details as filtered
from workshed.console.cli.terminal.bulk import UNKNOWN, for_each
from workshed.console.cli.terminal.confirm import require_confirmation
from workshed.console.cli.terminal.output import print_message
from workshed.console.cli.terminal.suggestions import warn_unknown_filter
from workshed.console.formatting import format_job_count
from workshed.console.operations import dead_jobs
from workshed.console.operations.environment import open_database
from workshed.database.postgres import Connection
from workshed.jobs.dead import dead_jobs as dead
from workshed.jobs.dead import retry_preview
from workshed.jobs.dead.dead_jobs import ANY, DeadFilter
from workshed.transport.messages.envelope import decode_message
from workshed.value_class import value_class

GONE = "no longer dead"
UNREADABLE = "cannot be read"


@value_class
class DeadAction:
    """What to do with dead jobs, and how to name it."""

    action: str
    """Name in the audit."""
    verb: str
    answer: str
    run: Callable[[Connection, str], bool]
    """Return False if no dead job has this id."""
    preview: Callable[[Connection, Sequence[str]], str] | None = None
    """Return what else a dry run reports, or an empty string."""


@value_class
class BulkSelection:
    """The dead jobs to act on."""

    ids: list[str]
    dead_filter: DeadFilter
    every: bool
    """All that match `which`; else those in `ids`."""
    details: Mapping[str, Any] | None = None
    """For the audit, if the user did not list the `ids`."""

    def __post_init__(self) -> None:
        """Raise `typer.BadParameter` unless it is clear which jobs are meant."""
        if self.every == bool(self.ids):
            raise typer.BadParameter("give either ids or --all")
        if self.ids and self.dead_filter != ANY:
            raise typer.BadParameter("--queue, --actor, --error, --location and --since need --all")


def retry_action(action: str) -> DeadAction:
    """Return the action that retries dead jobs; `action` is its name in the audit."""

    def retry(conn: Connection, message_id: str) -> bool:
        return dead.retry_job(conn, message_id, decode_message)

    def foresee(conn: Connection, ids: Sequence[str]) -> str:
        return dead_jobs.waits_text(retry_preview.preview_retry(conn, ids, decode_message))

    return DeadAction(action, "Retry", "retried", retry, foresee)


def apply_action(
    fate: DeadAction, chosen: BulkSelection, *, ask: bool, dry_run: bool, as_json: bool
) -> None:
    """Apply the action to each job and print the results; a dry run rolls each one back."""
    done = f"would be {fate.answer}" if dry_run else fate.answer

    with open_database() as conn:
        ids = dead.list_ids(conn, chosen.dead_filter) if chosen.every else chosen.ids
        which = chosen.dead_filter
        if not ids:
            warn_unknown_filter(
                conn,
                actor=which.actor,
                queue=which.queue,
                error=which.error,
                error_location=which.error_location,
            )
        if ids and not dry_run:
            require_confirmation(f"{fate.verb} {format_job_count(len(ids))}", yes=not ask)

        if dry_run and fate.preview and (said := fate.preview(conn, ids)):
            print_message(said)

        def one(message_id: str) -> str:
            try:
                with conn.transaction(force_rollback=dry_run):
                    found = fate.run(conn, message_id)
            except dead.UnreadableJobError as err:
                if not chosen.every:
                    print_message(str(err))
                return UNREADABLE
            return done if found else GONE if chosen.every else UNKNOWN

        about = filtered(which) if chosen.every else chosen.details
        deed = None if dry_run else AuditedAction(conn, fate.action, (done,), about)
        answers = for_each(ids, one, good=(done, GONE), deed=deed, as_json=as_json)
        print_message(f"{format_job_count(answers.count(done))} {done}.")
