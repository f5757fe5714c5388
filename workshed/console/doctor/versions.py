"""Check the versions of Python and dramatiq."""

import sys
from collections.abc import Iterator
from importlib.metadata import version

from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.finding import Finding, failed, ok, warning

PYTHON = (3, 11), (3, 16)
"""The oldest supported, and the first that the matrix has not run; later ones may be used."""
DRAMATIQ = (2, 2, 1), (2, 3)
"""The oldest supported, and the first untested; as in `pyproject.toml`."""


def check_versions(_: DoctorContext) -> Iterator[Finding]:
    """Compare the versions with those that this release supports."""
    python = sys.version_info[:3]
    yield check_python(python)
    dramatiq = tuple(int(part) for part in version("dramatiq").split(".")[:3] if part.isdecimal())
    yield check_bounds("dramatiq", dramatiq, DRAMATIQ, "pip install 'dramatiq>=2.2.1,<2.3'")


def check_python(python: tuple[int, ...]) -> Finding:
    """Return a finding for a version of Python; a newer one may be used untested."""
    oldest, untested = PYTHON
    said = f"Python {format_version(python)}"
    if python < oldest:
        said += f": this release needs {format_version(oldest)} or newer"
        return failed(said, "make PYTHON=/path/to/python3.13 setup")
    if python >= untested:
        newest = format_version((*untested[:-1], untested[-1] - 1))
        said += f" is newer than this release was tested with, up to {newest}"
        return warning(said, "pip install --upgrade workshed")
    return ok(said)


def check_bounds(
    name: str,
    found: tuple[int, ...],
    bounds: tuple[tuple[int, ...], tuple[int, ...]],
    fix: str,
) -> Finding:
    """Return a finding for a version that must be within bounds."""
    first, too_new = bounds
    if first <= found < too_new:
        return ok(f"{name} {format_version(found)}")
    said = (
        f"{name} {format_version(found)}: this release needs >={format_version(first)}, "
        f"<{format_version(too_new)}"
    )
    return failed(said, fix)


def format_version(version: tuple[int, ...]) -> str:
    """Format a version."""
    return ".".join(map(str, version))
