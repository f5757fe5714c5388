"""Merge the metric files of dead processes, so that they do not pile up."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

from workshed.health.shared_folder import process_exists

MOST_FILES = 20
"""Files of one kind to keep. A scrape reads all, and a worker that dies every 10 s leaves 8,640 a
day."""
MERGED_KINDS = ("counter", "histogram", "summary")
MERGED_PID = 0
"""The pid in the name of the merged file."""


def compact_files(folder: Path) -> None:
    """Merge the files of dead processes, once there are many.

    Only the process that exposes a folder may call this, because the numbers exist twice meanwhile.
    """
    for kind in MERGED_KINDS:
        dead = [file for file in folder.glob(f"{kind}_*.db") if is_dead(file)]
        if len(dead) > MOST_FILES:
            _merge_files(folder / f"{kind}_{MERGED_PID}.db", dead)


def is_dead(file: Path) -> bool:
    """Tell whether the process that may write to a file is gone."""
    found = re.search(r"_(\d+)\.db$", file.name)
    return found is not None and int(found[1]) != MERGED_PID and not process_exists(int(found[1]))


def _merge_files(whole: Path, dead: list[Path]) -> None:
    sums: defaultdict[str, float] = defaultdict(float)
    for file in [*dead, *([whole] if whole.exists() else [])]:
        for key, value, _timestamp, _place in read_values(file):
            sums[key] += value
    made = whole.with_suffix(".new")
    made.unlink(missing_ok=True)  # left by a process killed while merging
    written: Any = MmapedDict(str(made))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        written.write_value(key, value, 0.0)
    written.close()
    made.replace(whole)
    for file in dead:
        file.unlink()


def read_values(file: Path) -> Any:
    """Read the values in the file of a process."""
    return MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
