"""Shell completion for the names of actors, queues, workers and periodic jobs.

`workshed --install-completion` sets it up. On any error it offers and prints nothing, because
output would garble the line that the user is typing.
"""

import contextlib
import importlib
import io
from collections.abc import Callable, Iterable
from typing import Any

import typer


def complete_actors(incomplete: str) -> list[str]:
    """Return the actors that any worker has declared."""
    return complete(incomplete, lambda lists: lists.query_names("actors"))


def complete_imported_actors(context: typer.Context, incomplete: str) -> list[str]:
    """Return the actors of the packages given by `--import` before, or those of the App."""
    packages = context.params.get("packages") or ()
    return complete(incomplete, lambda lists: lists.list_package_actors(packages))


def complete_queues(incomplete: str) -> list[str]:
    """Return the queues declared here, and those that any worker has declared."""
    declared = complete(incomplete, lambda lists: lists.list_declared_queues())
    return sorted({*declared, *complete(incomplete, lambda lists: lists.query_names("queues"))})


def complete_workers(incomplete: str) -> list[str]:
    """Return the worker processes, as HOST:PID."""
    return complete(incomplete, lambda lists: lists.query_names("workers"))


def complete_periodic(incomplete: str) -> list[str]:
    """Return the periodic jobs."""
    return complete(incomplete, lambda lists: lists.query_names("periodic jobs"))


def complete(incomplete: str, list_names: Callable[[Any], Iterable[str]]) -> list[str]:
    """Return the names that start with `incomplete`, sorted, or none if that fails."""
    nowhere = io.StringIO()
    with (
        contextlib.suppress(Exception),
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        # Only a prompt needs it, and it imports what talks to the servers.
        lists = importlib.import_module("workshed.console.cli.terminal.name_lists")
        return sorted({name for name in list_names(lists) if name.startswith(incomplete)})
    return []
