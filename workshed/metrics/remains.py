"""Add up what dead processes have counted, so that their files do not pile up."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

from workshed.health.shared_folder import process_exists

MANY = 20
"""Files of one kind; a scrape reads each, and a worker that dies every 10 s leaves 8,640 a day."""
KINDS = ("counter", "histogram", "summary")
NOBODY = 0
"""Stands for the pid of those that are added up."""


def add_up(folder: Path) -> None:
    """Put the files of dead processes together, once there are many.

    Only for the one process that shows a folder: meanwhile their numbers are there twice.
    """
    for kind in KINDS:
        dead = [file for file in folder.glob(f"{kind}_*.db") if is_dead(file)]
        if len(dead) > MANY:
            _add_up(folder / f"{kind}_{NOBODY}.db", dead)


def is_dead(file: Path) -> bool:
    """Tell whether no process of this pid is there, which may write to it."""
    found = re.search(r"_(\d+)\.db$", file.name)
    return found is not None and int(found[1]) != NOBODY and not process_exists(int(found[1]))


def _add_up(whole: Path, dead: list[Path]) -> None:
    sums: defaultdict[str, float] = defaultdict(float)
    for file in [*dead, *([whole] if whole.exists() else [])]:
        for key, value, _timestamp, _place in read_values(file):
            sums[key] += value
    made = whole.with_suffix(".new")
    made.unlink(missing_ok=True)  # of one that was killed meanwhile
    written: Any = MmapedDict(str(made))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        written.write_value(key, value, 0.0)
    written.close()
    made.replace(whole)
    for file in dead:
        file.unlink()


def read_values(file: Path) -> Any:
    """Read what a process has told."""
    return MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
