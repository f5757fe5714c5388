"""Decide on some of the dead, or on all that fit."""

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

GONE = "not dead any more"
UNREADABLE = "cannot be read"


@dataclass(frozen=True, slots=True)
class DeadAction:
    """What is to become of them, and in which words."""

    action: str
    """In the audit."""
    verb: str
    done: str
    do: Callable[[Connection, str], bool]
    """False when no such job is dead."""
    foresee: Callable[[Connection, Sequence[str]], str] | None = None
    """What else a dry run says of them, if anything."""


@dataclass(frozen=True, slots=True)
class BulkSelection:
    """Whom it concerns."""

    ids: list[str]
    which: DeadFilter
    every: bool
    """All that `which` leaves; else those with the `ids`."""
    about: Mapping[str, Any] | None = None
    """For the audit, where somebody has not named each of the `ids`."""

    def __post_init__(self) -> None:
        """Refuse what is not plainly one or the other."""
        if self.every == bool(self.ids):
            raise typer.BadParameter("say which: their ids, or --all")
        if self.ids and self.which != ANY:
            raise typer.BadParameter(
                "--queue, --actor, --error, --location and --since choose among --all"
            )


def retrying(action: str) -> DeadAction:
    """Put them back on their way."""

    def retry(conn: Connection, message_id: str) -> bool:
        return dead.retry_job(conn, message_id, decode)

    def foresee(conn: Connection, ids: Sequence[str]) -> str:
        return dead_jobs.waits_text(retry_preview.preview_retry(conn, ids, decode))

    return DeadAction(action, "Retry", "retried", retry, foresee)


def decide(
    fate: DeadAction, chosen: BulkSelection, *, ask: bool, dry_run: bool, as_json: bool
) -> None:
    """Do it with each, and print what became of it; a dry run does it too, and takes it back."""
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
