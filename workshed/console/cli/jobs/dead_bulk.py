"""Retry or discard dead jobs, by id or all that match a filter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from workshed.console.cli.terminal.audit import AuditedAction
from workshed.console.cli.terminal.audit import chosen as filtered
from workshed.console.cli.terminal.bulk import UNKNOWN, each
from workshed.console.cli.terminal.confirm import agreed
from workshed.console.cli.terminal.output import talk
from workshed.console.cli.terminal.suggestions import doubt
from workshed.console.formatting import jobs
from workshed.console.operations import dead_jobs
from workshed.console.operations.environment import open_database
from workshed.db import Connection
from workshed.jobs.dead import dead_jobs as dead
from workshed.jobs.dead import retry_preview
from workshed.jobs.dead.dead_jobs import ANY, DeadFilter
from workshed.transport.messages.envelope import decode

GONE = "no longer dead"
UNREADABLE = "cannot be read"


@dataclass(frozen=True, slots=True)
class DeadAction:
    """What to do with dead jobs, and how to name it."""

    action: str
    """Name in the audit."""
    verb: str
    done: str
    do: Callable[[Connection, str], bool]
    """Return False if no dead job has this id."""
    foresee: Callable[[Connection, Sequence[str]], str] | None = None
    """Return what else a dry run reports, or an empty string."""


@dataclass(frozen=True, slots=True)
class BulkSelection:
    """The dead jobs to act on."""

    ids: list[str]
    which: DeadFilter
    every: bool
    """All that match `which`; else those in `ids`."""
    about: Mapping[str, Any] | None = None
    """For the audit, if the user did not list the `ids`."""

    def __post_init__(self) -> None:
        """Raise `typer.BadParameter` unless it is clear which jobs are meant."""
        if self.every == bool(self.ids):
            raise typer.BadParameter("give either ids or --all")
        if self.ids and self.which != ANY:
            raise typer.BadParameter("--queue, --actor, --error, --location and --since need --all")


def retrying(action: str) -> DeadAction:
    """Return the action that retries dead jobs; `action` is its name in the audit."""

    def retry(conn: Connection, message_id: str) -> bool:
        return dead.retry_job(conn, message_id, decode)

    def foresee(conn: Connection, ids: Sequence[str]) -> str:
        return dead_jobs.waits_text(retry_preview.preview_retry(conn, ids, decode))

    return DeadAction(action, "Retry", "retried", retry, foresee)


def decide(
    fate: DeadAction, chosen: BulkSelection, *, ask: bool, dry_run: bool, as_json: bool
) -> None:
    """Apply the action to each job and print the results; a dry run rolls each one back."""
    done = f"would be {fate.done}" if dry_run else fate.done

    with open_database() as conn:
        ids = dead.list_ids(conn, chosen.which) if chosen.every else chosen.ids
        which = chosen.which
        if not ids:
            doubt(
                conn,
                actor=which.actor,
                queue=which.queue,
                error=which.error,
                error_location=which.error_location,
            )
        if ids and not dry_run:
            agreed(f"{fate.verb} {jobs(len(ids))}", yes=not ask)

        if dry_run and fate.foresee and (said := fate.foresee(conn, ids)):
            talk(said)

        def one(message_id: str) -> str:
            try:
                with conn.transaction(force_rollback=dry_run):
                    found = fate.do(conn, message_id)
            except dead.UnreadableJobError as err:
                if not chosen.every:
                    talk(str(err))
                return UNREADABLE
            return done if found else GONE if chosen.every else UNKNOWN

        about = filtered(which) if chosen.every else chosen.about
        deed = None if dry_run else AuditedAction(conn, fate.action, (done,), about)
        answers = each(ids, one, good=(done, GONE), deed=deed, as_json=as_json)
        talk(f"{jobs(answers.count(done))} {done}.")
