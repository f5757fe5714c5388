"""How the library and the service are laid out; import-linter has the rest, in `pyproject.toml`."""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("actors", "brokers", "middleware", "shop", "workshed")
MOST = 25


def test_no_folder_is_a_drawer():
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    counts = Counter(str(file.parent.relative_to(ROOT)) for file in files)

    assert {folder: count for folder, count in counts.items() if count > MOST} == {}
