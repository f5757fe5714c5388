"""The releases that CHANGELOG.md describes."""

import re
from pathlib import Path

FILE = "CHANGELOG.md"
SECTION = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", re.MULTILINE)


def list_releases(root: Path) -> list[str]:
    """Return the versions that have a section with a date, newest first."""
    return SECTION.findall((root / FILE).read_text("utf-8"))
