"""Check the folder for metrics; without it, nothing is measured."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, ok, warning
from workshed.health import shared_folder
from workshed.settings import MULTIPROCESS, multiprocess_folder


def check(here: DoctorContext) -> Iterator[Finding]:
    """Check that the folder is writable; never create it."""
    named = multiprocess_folder()
    if not here.settings.metrics:
        yield ok("nothing is measured, because WORKSHED_METRICS is off")
    elif named is not None:
        fix = f"mkdir -p {named} && chown $USER {named}  (or: unset {MULTIPROCESS})"
        yield writable(named, fix)
    elif (folder := shared_folder.default_base()).exists() and not shared_folder.is_ours(folder):
        said = f"{folder} belongs to another user, so nothing is measured"
        yield warning(said, f"rm -r {folder}  (as its owner)")
    else:
        yield writable(Path(tempfile.gettempdir()), "export TMPDIR=/a/folder")


def writable(folder: Path, fix: str) -> Finding:
    """Check a folder that should exist."""
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return ok(f"metrics are stored in {folder}")
    return warning(f"{folder} is not writable, so nothing is measured", fix)
