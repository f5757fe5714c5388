"""Overview: what happens now, and what is wrong."""

from collections.abc import Mapping
from typing import Any

from console.web.desk.page import Action, Ask, Page


def look(ask: Ask) -> Mapping[str, Any]:  # noqa: ARG001
    """To come."""
    return {}


PAGES: tuple[Page, ...] = (
    Page("/", "Overview", "overview.html", look, group="Jobs", is_live=True),
)
ACTIONS: tuple[Action, ...] = ()
