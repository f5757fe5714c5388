"""What is fetched from the APIs of others: asked with care, and written once."""

from workshed.sync.errors import SourceBusyError, SourceError
from workshed.sync.listing import Landed, land, read, turn
from workshed.sync.old import prune
from workshed.sync.records import fetch, write
from workshed.sync.runs import died, failed
from workshed.sync.skipping import SkippedItem
from workshed.sync.skipping import every as skipped
from workshed.sync.sources import Source, add, admit, counts, find, names, release, remove

__all__ = [
    "Landed",
    "SkippedItem",
    "Source",
    "SourceBusyError",
    "SourceError",
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
