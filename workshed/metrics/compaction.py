"""Merge the files of ended processes, so that they do not pile up."""

import contextlib
import re
from collections import defaultdict
from pathlib import Path

from workshed.health.shared_folder import VALUES_SUFFIX, is_alive, process_exists, values_owner
from workshed.metrics import samples, value_file
from workshed.metrics.samples import Sample

MOST_FILES = 20
"""Files of ended processes to keep. A scrape reads all, and a worker that dies every 10 s leaves
8,640 a day."""
MERGED = f"merged{VALUES_SUFFIX}"
KEPT_KINDS = ("counter", "histogram", "summary")
"""What an ended process has measured is still true of these; its gauges are not."""
APPLICATION_FILES = re.compile(r"(?:counter|histogram|summary)_(\d+)\.db")


def read_folder(folder: Path) -> list[Sample]:
    """Return the numbers of all processes of a folder, without the gauges of ended ones.

    Only the process that exposes a folder may call this: it merges files of ended processes, and
    the numbers exist twice meanwhile. Raises `OSError`.
    """
    ended = [file for file in sorted(folder.glob("*")) if has_ended(file)]
    if len(ended) > MOST_FILES:
        merge_files(folder / MERGED, ended)
        ended = []
    found = read_kept(folder / MERGED)
    for file in sorted(folder.glob("*")):
        if file.suffix in (VALUES_SUFFIX, ".db") and file.name != MERGED:
            with contextlib.suppress(FileNotFoundError):  # an application may remove its own
                found += read_kept(file) if file in ended else samples.read_file(file)
    return found


def read_kept(file: Path) -> list[Sample]:
    """Return what stays of the numbers in the file of an ended process."""
    if not file.exists():
        return []
    return [sample for sample in samples.read_file(file) if sample.kind in KEPT_KINDS]


def has_ended(file: Path) -> bool:
    """Return whether the process that may write to a file, and no other, has ended."""
    if owner := values_owner(file):
        return not is_alive(owner)
    found = APPLICATION_FILES.fullmatch(file.name)
    return found is not None and not process_exists(int(found[1]))


def merge_files(merged: Path, ended: list[Path]) -> None:
    """Add the numbers in the files of ended processes to those in `merged`, and delete them."""
    sums: defaultdict[str, float] = defaultdict(float)
    for file in [merged, *ended]:
        for sample in read_kept(file):
            sums[samples.encode_key(sample)] += sample.value
    made = merged.with_suffix(".new")
    made.write_bytes(value_file.encode_entries(iter(sums.items())))
    made.replace(merged)
    for file in ended:
        file.unlink(missing_ok=True)
