"""`workshed dev --reset`: delete the data of earlier runs, after confirmation."""

import json
from pathlib import Path

from workshed.console.cli.terminal.confirm import require_confirmation
from workshed.console.cli.terminal.output import print_message
from workshed.console.formatting import format_size
from workshed.devserver.state import list_project_folders, lock_folder


def wipe_data(folder: Path | None, *, yes: bool, dry_run: bool, as_json: bool) -> Path | None:
    """Delete the data after confirmation; return the folder to use from here on.

    A dry run prints what would be deleted and returns `None`. Raises `ServerError` for a folder
    in use, `NotConfirmedError`.
    """
    where = folder or list_project_folders()[0]
    if dry_run and not where.exists():  # claiming it would create it
        print_dry_run(where, [], as_json=as_json)
        return None
    with lock_folder(folder) as state:  # no other process may use it during the prompt
        left = state.leftover_files()
        if dry_run:
            print_dry_run(state.folder, left, as_json=as_json)
            return None
        if left:
            require_confirmation(
                f"Wipe {format_amount(left)} in {state.folder} "
                f"({list_servers(state.folder, left)})",
                yes=yes,
            )
            state.wipe()
        return state.folder


def print_dry_run(folder: Path, left: list[Path], *, as_json: bool) -> None:
    """Print what would be deleted."""
    if as_json:
        # One line, like all output of `dev --json`.
        print(json.dumps({"state": str(folder), "files": len(left), "bytes": count_bytes(left)}))
        return
    print(f"{folder}: {format_amount(left)}")
    which = f" ({list_servers(folder, left)})" if left else ""
    print_message(f"{format_amount(left)} would be wiped{which}; nothing was changed.")


def format_amount(left: list[Path]) -> str:
    """Format how much there is: `1203 files of 46 MB`."""
    files = "1 file" if len(left) == 1 else f"{len(left)} files"
    return f"{files} of {format_size(count_bytes(left))}"


def list_servers(folder: Path, left: list[Path]) -> str:
    """Return the names of the servers: `postgres, rabbitmq, mail`."""
    return ", ".join(dict.fromkeys(path.relative_to(folder).parts[0] for path in left))


def count_bytes(left: list[Path]) -> int:
    """Return the total size."""
    return sum(path.lstat().st_size for path in left)
