"""How the library and the service are laid out; import-linter has the rest, in `pyproject.toml`."""

import tomllib
from collections import Counter

from tests.root import ROOT

PACKAGES = ("actors", "brokers", "middleware", "shop", "workshed")
MOST = 25


def test_no_folder_is_a_drawer():
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    counts = Counter(str(file.parent.relative_to(ROOT)) for file in files)

    assert {folder: count for folder, count in counts.items() if count > MOST} == {}


def test_each_package_of_the_library_has_layers_of_its_own():
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    _service, library, *inside = linter["contracts"]
    exhaustive = {name for one in inside if one["exhaustive"] for name in one["containers"]}

    assert exhaustive == {f"workshed.{name}" for name in library["layers"]}
