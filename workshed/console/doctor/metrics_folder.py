"""Check the folder for metrics; without it, nothing is measured."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.finding import Finding, ok, warning
from workshed.health import shared_folder
from workshed.settings import MULTIPROCESS_VARIABLE, multiprocess_folder


def check_metrics_folder(here: DoctorContext) -> Iterator[Finding]:
    """Check that the folder is writable; never create it."""
    named = multiprocess_folder()
    if not here.settings.metrics:
        yield ok("nothing is measured, because WORKSHED_METRICS is off")
    elif named is not None:
        fix = f"mkdir -p {named} && chown $USER {named}  (or: unset {MULTIPROCESS_VARIABLE})"
        yield check_writable(named, fix)
    elif (
        folder := shared_folder.default_base_folder()
    ).exists() and not shared_folder.is_own_folder(folder):
        said = f"{folder} belongs to another user, so nothing is measured"
        yield warning(said, f"rm -r {folder}  (as its owner)")
    else:
        yield check_writable(Path(tempfile.gettempdir()), "export TMPDIR=/a/folder")


def check_writable(folder: Path, fix: str) -> Finding:
    """Check a folder that should exist."""
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return ok(f"metrics are stored in {folder}")
    return warning(f"{folder} is not writable, so nothing is measured", fix)
