"""Syncing records from third-party APIs, with limits and checks; each change is stored once."""

from shop.sync.errors import SourceBusyError, SourceError
from shop.sync.listing import PageResult, land, read, turn
from shop.sync.old import prune
from shop.sync.records import fetch, write
from shop.sync.runs import died, failed
from shop.sync.skipping import SkippedItem
from shop.sync.skipping import every as skipped
from shop.sync.sources import SyncSource, add, admit, counts, find, names, release, remove

__all__ = [
    "PageResult",
    "SkippedItem",
    "SourceBusyError",
    "SourceError",
    "SyncSource",
    "add",
    "admit",
    "counts",
    "died",
    "failed",
    "fetch",
    "find",
    "land",
    "names",
    "prune",
    "read",
    "release",
    "remove",
    "skipped",
    "turn",
    "write",
]
