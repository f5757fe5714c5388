"""`python -m shop sync`: the synced sources."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import DryRun, Json, Yes
from workshed.console.formatting import format_ago, format_due
from workshed.database.postgres import database_now

if TYPE_CHECKING:
    from shop.sync import SyncSource
    from workshed.db import Connection

sync = typer.Typer(
    cls=ListByDefault, add_completion=False, help="The synced sources, and their state."
)


@sync.command("list")
def listed(*, as_json: Json = False) -> None:
    """List the sources with the age of their data; `python -m shop sync` does the same."""
    from shop.sync import count_records, list_sources
    from workshed.console.cli.terminal import output
    from workshed.console.operations.environment import open_database

    with open_database("shop") as conn:
        found, kept = list_sources(conn), count_records(conn)
    if as_json:
        output.print_json([asdict(one) | {"records": kept.get(one.name, 0)} for one in found])
    elif found:
        lines = [
            (
                f"{one.name}\n{one.url}",
                f"{kept.get(one.name, 0)}" + (f"\n{one.skipped} skipped" if one.skipped else ""),
                format_ago(one.last_success_at, one.now) if one.last_success_at else "never",
                format_state(one),
            )
            for one in found
        ]
        output.print_table(("source", "records", "all read", "now"), lines, elastic=3)
    else:
        output.print_message("There are no sources; `python -m shop sync add NAME URL` adds one.")


@sync.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    url: Annotated[str, typer.Argument(metavar="URL", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Add a source, or change the URL of one; SHOP_SYNC_ORIGINS must name its host.

    The next periodic run reads it; `workshed enqueue sync_critical_data NAME` does so at once.
    """
    from shop.sync import add as store
    from shop.sync import list_sources
    from workshed.console.cli.terminal.audit import record_action
    from workshed.console.cli.terminal.output import print_json
    from workshed.console.operations.environment import open_database

    with open_database("shop") as conn, conn.transaction():
        known = {one.name: one.url for one in list_sources(conn)}
        store(conn, name, url)
        if known.get(name) != url:
            said = f"{name} is read from another address." if name in known else f"{name} is new."
            record_action(conn, "sync.add", {"source": name}, said=said)
    print_json({"name": name, "url": url}) if as_json else print(f"{name}  {url}")


@sync.command()
def release(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Ask a held source again now, instead of when its hold ends.

    One job asks it; depending on the answer the source is released, or held again.
    """
    from shop.sync import close_circuit as free
    from workshed.console.cli.terminal.audit import record_action
    from workshed.console.cli.terminal.output import print_json
    from workshed.console.operations.environment import open_database

    with open_database("shop") as conn:
        require_source(conn, name)
        with conn.transaction():
            freed = free(conn, name)
            said = f"{name} is asked again before its hold ends."
            record_action(conn, "sync.release", {"source": name}, count=int(freed), said=said)
    answer = "is asked again" if freed else "was not held"
    print_json({"name": name, "answer": answer}) if as_json else print(f"{name}  {answer}")


@sync.command()
def skipped(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """List the items of a source that cannot be synced, each with the reason."""
    from shop.sync import list_skipped
    from workshed.console.cli.terminal import output
    from workshed.console.operations.environment import open_database

    with open_database("shop") as conn:
        require_source(conn, name)
        found, now = list_skipped(conn, name), database_now(conn)
    if as_json:
        output.print_json([asdict(one) for one in found])
    elif found:
        lines = [(one.item, one.reason, format_ago(one.since, now)) for one in found]
        output.print_table(("item", "reason", "since"), lines, elastic=0)
    else:
        output.print_message(f"Nothing of {name} is skipped.")


@sync.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove a source, and delete all records that were synced from it.

    Waiting jobs of the source are discarded when they start. Its log is deleted when it is old.
    """
    from shop.sync import count_records
    from shop.sync import remove as delete
    from workshed.console.cli.terminal.audit import record_action
    from workshed.console.cli.terminal.confirm import require_confirmation
    from workshed.console.cli.terminal.output import print_json, print_message
    from workshed.console.operations.environment import open_database

    with open_database("shop") as conn:
        require_source(conn, name)
        count = count_records(conn).get(name, 0)
        if not dry_run:
            require_confirmation(f"Remove {name} with {count} records", yes=yes)
            with conn.transaction():
                delete(conn, name)
                said = f"{name} was removed with {count} records."
                record_action(conn, "sync.remove", {"source": name}, said=said)
    if as_json:
        print_json({"name": name, "records": count, "removed": not dry_run})
    else:
        print(f"{name}  {count}")
    print_message(f"{name} and {count} records {'would be' if dry_run else 'are'} removed.")


def require_source(conn: "Connection", name: str) -> None:
    """Raise `NotFoundError` if there is no such source."""
    from shop.sync import list_source_names
    from workshed.console.errors import NotFoundError
    from workshed.transport.errors import did_you_mean

    known = list_source_names(conn)
    if name not in known:
        hint = did_you_mean(name, known)
        raise NotFoundError(f"no source {name!r}{hint}; there are {', '.join(known) or 'none'}")


def format_state(source: "SyncSource") -> str:
    """Format what the source is doing, or what is wrong with it."""
    held = source.circuit_open_until is not None and source.circuit_open_until > source.now
    words = []
    if source.failing_since is not None:
        runs = "1 run" if source.failed_runs == 1 else f"{source.failed_runs} runs"
        words.append(f"failing {format_ago(source.failing_since, source.now)}, {runs}")
    if held:
        assert source.circuit_open_until is not None  # noqa: S101 -- for mypy
        words.append(f"asked again {format_due(source.circuit_open_until, source.now)}")
    if source.listing_since is not None:
        words.append(f"being read since {format_ago(source.listing_since, source.now)}")
    return "\n".join([*words, source.last_error or ""]).strip() or "well"
