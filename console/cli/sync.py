"""`workshed sync`: the sources that are synced."""

from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.listing import ListByDefault
from console.cli.options import Json

if TYPE_CHECKING:
    from workshed.sync import Source

sync = typer.Typer(
    cls=ListByDefault, add_completion=False, help="The sources that are synced, and how they are."
)


@sync.command("list")
def listed(*, as_json: Json = False) -> None:
    """List the sources, each with how old what we have of it is; `workshed sync` does too."""
    from dataclasses import asdict

    from console.cli import output
    from console.program import database
    from console.words import ago
    from workshed.sync import counts, find

    with database("product") as conn:
        found, kept = find(conn), counts(conn)
    if as_json:
        output.print_json([asdict(one) | {"records": kept.get(one.name, 0)} for one in found])
    elif found:
        lines = [
            (
                f"{one.name}\n{one.url}",
                str(kept.get(one.name, 0)),
                ago(one.last_success_at, one.now) if one.last_success_at else "never",
                state(one),
            )
            for one in found
        ]
        output.table(("source", "records", "all read", "now"), lines, elastic=3)
    else:
        output.talk("No source is known; `workshed sync add NAME URL` adds one.")


@sync.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    url: Annotated[str, typer.Argument(metavar="URL", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Add a source, or say where one is from now on; WORKSHED_SYNC_ORIGINS must name its host.

    It is read with the next turn of the calendar, or by `workshed enqueue sync_critical_data NAME`.
    """
    from console.cli.noted import note
    from console.cli.output import print_json
    from console.program import database
    from workshed.sync import add as store
    from workshed.sync import find

    with database("product") as conn, conn.transaction():
        known = {one.name: one.url for one in find(conn)}
        store(conn, name, url)
        if known.get(name) != url:
            said = f"{name} is read from another address." if name in known else f"{name} is new."
            note(conn, "sync.add", {"source": name}, said=said)
    print_json({"name": name, "url": url}) if as_json else print(f"{name}  {url}")


@sync.command()
def release(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Let a source that is held be asked now, and not when its time is over.

    One job asks it; by what comes of that the source is free, or held again.
    """
    from brokers.errors import did_you_mean
    from console.cli.noted import note
    from console.cli.output import print_json
    from console.errors import NotFoundError
    from console.program import database
    from workshed.sync import names
    from workshed.sync import release as free

    with database("product") as conn:
        known = names(conn)
        if name not in known:
            hint = did_you_mean(name, known)
            raise NotFoundError(f"no source {name!r}{hint}; there are {', '.join(known) or 'none'}")
        with conn.transaction():
            freed = free(conn, name)
            said = f"{name} is asked again before its time is over."
            note(conn, "sync.release", {"source": name}, count=int(freed), said=said)
    answer = "is asked again" if freed else "was not held"
    print_json({"name": name, "answer": answer}) if as_json else print(f"{name}  {answer}")


def state(source: "Source") -> str:
    """Say what it does, or what is wrong."""
    from console.words import ago, due

    held = source.held_until is not None and source.held_until > source.now
    words = []
    if source.failing_since is not None:
        runs = "1 run" if source.failed_runs == 1 else f"{source.failed_runs} runs"
        words.append(f"failing {ago(source.failing_since, source.now)}, {runs}")
    if held:
        assert source.held_until is not None  # noqa: S101 -- so mypy knows it too
        words.append(f"asked again {due(source.held_until, source.now)}")
    if source.listing_since is not None:
        words.append(f"being read since {ago(source.listing_since, source.now)}")
    return "\n".join([*words, source.last_error or ""]).strip() or "well"
