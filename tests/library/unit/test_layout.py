"""The layout of the library and the service; import-linter in `pyproject.toml` does the rest."""

import tomllib
from collections import Counter

import pytest

from tests.root import ROOT

PACKAGES = ("actors", "brokers", "middleware", "shop", "workshed")
MOST = 25


def test_no_folder_has_too_many_files():
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    counts = Counter(str(file.parent.relative_to(ROOT)) for file in files)

    assert {folder: count for folder, count in counts.items() if count > MOST} == {}


@pytest.fixture(scope="module")
def contracts():
    """The contracts of import-linter."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    return linter["contracts"]


def test_each_package_of_the_library_has_layers_of_its_own(contracts):
    _service, library, *inside = (one for one in contracts if one["type"] == "layers")
    exhaustive = {name for one in inside if one["exhaustive"] for name in one["containers"]}

    assert exhaustive == {f"workshed.{name}" for name in library["layers"]}


def test_modules_shared_by_all_tests_follow_the_rules_of_the_library(contracts):
    """Otherwise a new module of `tests` could import the service."""
    [forbidden] = (one for one in contracts if one["type"] == "forbidden")
    shared = {f"tests.{file.stem}" for file in (ROOT / "tests").glob("*.py")}

    assert {"tests.library", *shared} <= set(forbidden["source_modules"])
    assert {*PACKAGES, "tests.service"} - {"workshed"} == set(forbidden["forbidden_modules"])
