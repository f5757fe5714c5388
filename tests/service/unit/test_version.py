"""The version is written in one place; everything else takes it from there."""

import os
import re
import tomllib
from pathlib import Path

from tests.root import ROOT
from tools import deployment
from workshed import __version__
from workshed.console.scaffold.render import render_deployment

SOURCE = "workshed/__init__.py"
HISTORY = "CHANGELOG.md"
LOCK = "requirements.lock"
"""Other packages, one of which may have the same number."""
LEFT_OUT = {"__pycache__", "bench-results", "dist", "site", "tests", "var"}
"""Folders that programs write, and tests: one that expects the old number fails by itself."""
KEPT = {".ci", ".github"}
NUMBER = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?!\.?\d)")


def files(root):
    """Yield the files of a repository."""
    for folder, below, names in os.walk(root):
        below[:] = [one for one in below if one not in LEFT_OUT and (one[0] != "." or one in KEPT)]
        yield from (Path(folder, name) for name in names)


def written_in(root):
    """Return the files in which the version stands, with how often."""
    found = {}
    for path in files(root):
        try:
            count = len(NUMBER.findall(path.read_text("utf-8")))
        except UnicodeDecodeError:
            continue
        if count:
            found[path.relative_to(root).as_posix()] = count
    return found


def test_the_version_is_written_once():
    """A second literal would keep the old number at the next release."""
    generated = {f"deploy/{path}" for path in render_deployment(deployment.SERVICE)}

    found = written_in(ROOT)

    assert found.pop(SOURCE) == 1
    assert found.keys() - generated - {HISTORY, LOCK} == set()


def test_a_second_literal_is_found(tmp_path):
    (tmp_path / "page.md").write_text(f"Install Workshed {__version__}.\n", "utf-8")
    (tmp_path / "other.md").write_text(f"1.{__version__}, {__version__}.1", "utf-8")

    assert written_in(tmp_path) == {"page.md": 1}


def test_the_packages_take_it_from_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"] == {"path": SOURCE}


def test_the_manifests_name_the_image_of_this_version():
    made = render_deployment(deployment.SERVICE)

    for overlay in ("small", "large"):
        assert (
            f"newTag: {__version__} }}" in made[f"kubernetes/overlays/{overlay}/kustomization.yaml"]
        )
