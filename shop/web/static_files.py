"""Styles and scripts of the shop's pages; palette and icon come from the console."""

from pathlib import Path

from starlette.routing import Mount

from workshed.console.web.view import static_files as console
from workshed.console.web.view.static_files import VersionedFiles

FOLDER = Path(__file__).parent / "static"


def static_files() -> Mount:
    """Return the route of static files."""
    return Mount("/static", VersionedFiles(FOLDER, console.FOLDER))
