"""Files of people: read whole, landed row by row, and made users of set by set."""

from workshed.imports.ending import fail
from workshed.imports.errors import AlreadyImportedError, ImportRefusedError
from workshed.imports.failures import Failure
from workshed.imports.failures import first as first_failures
from workshed.imports.failures import write as write_failures
from workshed.imports.problems import Kind, problems
from workshed.imports.reading import read
from workshed.imports.rows import end, left, work
from workshed.imports.stored import (
    Ended,
    Import,
    Part,
    count,
    create,
    every,
    find,
    forgotten,
    hand_out,
    prune,
)

__all__ = [
    "AlreadyImportedError",
    "Ended",
    "Failure",
    "Import",
    "ImportRefusedError",
    "Kind",
    "Part",
    "count",
    "create",
    "end",
    "every",
    "fail",
    "find",
    "first_failures",
    "forgotten",
    "hand_out",
    "left",
    "problems",
    "prune",
    "read",
    "work",
    "write_failures",
]
