"""`workshed dev --reset`: delete the data of earlier runs, after confirmation."""

from pathlib import Path

from workshed.console.cli.terminal.confirm import agreed
from workshed.console.cli.terminal.output import talk
from workshed.console.formatting import size
from workshed.devserver.state import claimed, default_folder


def wipe(folder: Path | None, *, yes: bool, dry_run: bool, as_json: bool) -> Path | None:
    """Delete the data after confirmation; return the folder to use from here on.

    A dry run prints what would be deleted and returns `None`. Raises `ServerError` for a folder
    in use, `NotConfirmedError`.
    """
    where = folder or default_folder()
    if dry_run and not where.exists():  # claiming it would create it
        tell(where, [], as_json=as_json)
        return None
    with claimed(folder) as state:  # no other process may use it during the prompt
        left = state.left()
        if dry_run:
            tell(state.folder, left, as_json=as_json)
            return None
        if left:
            agreed(f"Wipe {amount(left)} in {state.folder} ({names(state.folder, left)})", yes=yes)
            state.wipe()
        return state.folder


def tell(folder: Path, left: list[Path], *, as_json: bool) -> None:
    """Print what would be deleted."""
    if as_json:
        # One line, like all output of `dev --json`.
        import json

        print(json.dumps({"state": str(folder), "files": len(left), "bytes": bytes_of(left)}))
        return
    print(f"{folder}: {amount(left)}")
    which = f" ({names(folder, left)})" if left else ""
    talk(f"{amount(left)} would be wiped{which}; nothing was changed.")


def amount(left: list[Path]) -> str:
    """Format how much there is: `1203 files of 46 MB`."""
    files = "1 file" if len(left) == 1 else f"{len(left)} files"
    return f"{files} of {size(bytes_of(left))}"


def names(folder: Path, left: list[Path]) -> str:
    """Return the names of the servers: `postgres, rabbitmq, mail`."""
    return ", ".join(dict.fromkeys(path.relative_to(folder).parts[0] for path in left))


def bytes_of(left: list[Path]) -> int:
    """Return the total size."""
    return sum(path.lstat().st_size for path in left)
