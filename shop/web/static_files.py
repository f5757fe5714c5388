"""Styles and scripts of the shop's pages; palette and icon are those of the console."""

from pathlib import Path

from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"


def static_files() -> Mount:
    """Return the route of what pages load."""
    return Mount(
        "/static", StaticFiles(directory=FOLDER, packages=[("workshed.console.web", "static")])
    )
