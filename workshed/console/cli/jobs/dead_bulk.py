"""The dead jobs of a command: those with these ids, or all that match a filter."""

from dataclasses import asdict

import typer

from workshed.console.cli.terminal.bulk import run_operation
from workshed.console.cli.terminal.suggestions import warn_unknown_filter
from workshed.console.operations.environment import open_database
from workshed.console.operations.operation import Operation, filter_details
from workshed.jobs.dead import dead_jobs
from workshed.jobs.dead.dead_jobs import ANY, DeadFilter
from workshed.value_class import value_class


@value_class
class BulkSelection:
    """The dead jobs to act on."""

    ids: list[str]
    dead_filter: DeadFilter
    every: bool
    """All that match `dead_filter`; else those in `ids`."""

    def __post_init__(self) -> None:
        """Raise `typer.BadParameter` unless it is clear which jobs are meant."""
        if self.every == bool(self.ids):
            raise typer.BadParameter("give either ids or --all")
        if self.ids and self.dead_filter != ANY:
            raise typer.BadParameter("--queue, --actor, --error, --location and --since need --all")


def run_selected(
    operation: Operation[str], chosen: BulkSelection, *, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Run an operation on the selected jobs and print the answers."""
    which = chosen.dead_filter
    with open_database() as conn:
        ids = dead_jobs.list_ids(conn, which) if chosen.every else chosen.ids
        if not ids:
            names = {name: value for name, value in asdict(which).items() if name != "since"}
            warn_unknown_filter(conn, **names)
        run_operation(
            conn,
            operation,
            ids,
            as_json=as_json,
            yes=yes,
            dry_run=dry_run,
            details=filter_details(which) if chosen.every else None,
            is_filtered=chosen.every,
        )
