"""Imports of people from CSV files: read completely, stored row by row, made users in batches."""

from shop.imports.errors import AlreadyImportedError, ImportRefusedError, LayoutError
from shop.imports.failure_mail import fail_import
from shop.imports.failures import RowFailure, list_failures
from shop.imports.failures import write_failures as write_failures
from shop.imports.imports import (
    Import,
    RowRange,
    RowResults,
    count_results,
    create,
    get_import,
    list_imports,
    list_stalled,
    next_ranges,
    prune_imports,
)
from shop.imports.layout import DETECT_ALL, Layout
from shop.imports.preview import Preview, preview_file
from shop.imports.problems import ProblemKind, list_problems
from shop.imports.reader import read_file
from shop.imports.rows import create_users, fail_rows, list_open_ranges

__all__ = [
    "DETECT_ALL",
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
    "count_results",
    "create",
    "create_users",
    "fail_import",
    "fail_rows",
    "get_import",
    "list_failures",
    "list_imports",
    "list_open_ranges",
    "list_problems",
    "list_stalled",
    "next_ranges",
    "preview_file",
    "prune_imports",
    "read_file",
    "write_failures",
]
