"""How the library and the service are laid out; import-linter has the rest, in `pyproject.toml`."""

import tomllib
from collections import Counter

import pytest

from tests.root import ROOT

PACKAGES = ("actors", "brokers", "middleware", "shop", "workshed")
MOST = 25


def test_no_folder_is_a_drawer():
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    counts = Counter(str(file.parent.relative_to(ROOT)) for file in files)

    assert {folder: count for folder, count in counts.items() if count > MOST} == {}


@pytest.fixture(scope="module")
def contracts():
    """What import-linter holds."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    return linter["contracts"]


def test_each_package_of_the_library_has_layers_of_its_own(contracts):
    _service, library, *inside = (one for one in contracts if one["type"] == "layers")
    exhaustive = {name for one in inside if one["exhaustive"] for name in one["containers"]}

    assert exhaustive == {f"workshed.{name}" for name in library["layers"]}


def test_what_the_tests_of_library_and_service_share_is_held_like_those_of_the_library(contracts):
    """A new module of `tests` would else be let import the service."""
    [forbidden] = (one for one in contracts if one["type"] == "forbidden")
    shared = {f"tests.{file.stem}" for file in (ROOT / "tests").glob("*.py")}

    assert {"tests.library", *shared} <= set(forbidden["source_modules"])
    assert {*PACKAGES, "tests.service"} - {"workshed"} == set(forbidden["forbidden_modules"])
