"""Files of people: read whole, landed row by row, and made users of set by set."""

from workshed.imports.ending import fail
from workshed.imports.errors import AlreadyImportedError, ImportRefusedError, LayoutError
from workshed.imports.failures import Failure
from workshed.imports.failures import first as first_failures
from workshed.imports.failures import write as write_failures
from workshed.imports.layout import AS_FOUND, Layout
from workshed.imports.preview import Preview, preview
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
    "AS_FOUND",
    "AlreadyImportedError",
    "Ended",
    "Failure",
    "Import",
    "ImportRefusedError",
    "Kind",
    "Layout",
    "LayoutError",
    "Part",
    "Preview",
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
    "preview",
    "problems",
    "prune",
    "read",
    "work",
    "write_failures",
]
