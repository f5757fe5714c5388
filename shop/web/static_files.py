"""Styles and scripts of the shop's pages; palette and icon come from the console."""

from pathlib import Path

from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"


def static_files() -> Mount:
    """Return the route of static files."""
    return Mount(
        "/static", StaticFiles(directory=FOLDER, packages=[("workshed.console.web", "static")])
    )
