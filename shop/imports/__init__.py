"""Imports of people from CSV files: read completely, stored row by row, made users in batches."""

from shop.imports.ending import fail
from shop.imports.errors import AlreadyImportedError, ImportRefusedError, LayoutError
from shop.imports.failures import RowFailure
from shop.imports.failures import first as first_failures
from shop.imports.failures import write as write_failures
from shop.imports.layout import AS_FOUND, Layout
from shop.imports.preview import Preview, preview
from shop.imports.problems import ProblemKind, problems
from shop.imports.reading import read
from shop.imports.rows import end, left, work
from shop.imports.stored import (
    Import,
    RowRange,
    RowResults,
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
    "Import",
    "ImportRefusedError",
    "Layout",
    "LayoutError",
    "Preview",
    "ProblemKind",
    "RowFailure",
    "RowRange",
    "RowResults",
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
