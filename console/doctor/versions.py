"""Python and dramatiq."""

import sys
from collections.abc import Iterator
from importlib.metadata import version

from console.doctor.surroundings import Surroundings
from console.finding import Finding, failed, ok

PYTHON = (3, 11), (3, 14)
DRAMATIQ = (2, 2, 1), (2, 3)
"""The first that fits, and the first that was not tried; as in `pyproject.toml`."""


def check(_: Surroundings) -> Iterator[Finding]:
    """Compare them with what this release was made for."""
    python = sys.version_info[:3]
    yield fits("Python", python, PYTHON, "make PYTHON=/path/to/python3.13 setup")
    dramatiq = tuple(int(part) for part in version("dramatiq").split(".")[:3] if part.isdecimal())
    yield fits("dramatiq", dramatiq, DRAMATIQ, "pip install 'dramatiq>=2.2.1,<2.3'")


def fits(
    name: str,
    found: tuple[int, ...],
    bounds: tuple[tuple[int, ...], tuple[int, ...]],
    mend: str,
) -> Finding:
    """Tell whether a version is in its bounds."""
    first, too_new = bounds
    if first <= found < too_new:
        return ok(f"{name} {dotted(found)}")
    said = (
        f"{name} {dotted(found)}: this release needs {dotted(first)} up to before {dotted(too_new)}"
    )
    return failed(said, mend)


def dotted(version: tuple[int, ...]) -> str:
    """Write a version."""
    return ".".join(map(str, version))
