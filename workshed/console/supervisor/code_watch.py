"""Notice changes of an application's Python files, for `workshed worker --reload`."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

POLL_S = 0.5
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})
"""Folders that hold no code of an application; hidden ones are skipped, too."""


class CodeWatch:
    """The Python files below a folder, as they were when they were last looked at.

    It polls: file notifications do not arrive from the host of a container on every system.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = self._scan()
        self._changed: set[str] = set()
        self.due = time.monotonic() + POLL_S
        """When to look again, by the monotonic clock."""

    def poll(self) -> list[str]:
        """Return the files that have changed, once nothing has changed since the last look.

        So a save of many files, or a checkout of another branch, is one change.
        """
        before, self._files = self._files, self._scan()
        self.due = time.monotonic() + POLL_S
        changed = {name for name, _ in before.items() ^ self._files.items()}
        if changed or not self._changed:
            self._changed |= changed
            return []
        files, self._changed = sorted(self._changed), set()
        return files

    def _scan(self) -> dict[str, tuple[int, int, int]]:
        """Return what identifies the content of each file, by its path below the folder."""
        return dict(_list_code(self._folder, ""))


def _list_code(folder: Path | str, below: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:  # it was deleted meanwhile, or may not be read
        return
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in SKIPPED:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _list_code(entry.path, f"{below}{entry.name}/")
        elif entry.name.endswith(".py"):
            try:
                status = entry.stat()
            except OSError:
                continue
            yield f"{below}{entry.name}", (status.st_mtime_ns, status.st_size, status.st_ino)
