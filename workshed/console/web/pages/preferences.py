"""Preferences: theme, time zone, density and keyboard shortcuts of a browser."""

from collections.abc import Mapping
from typing import Any

from workshed.console.web.view.page import Action, Page, PageRequest
from workshed.console.web.view.preferences import CHOICES

PATH = "/preferences"


def load_choices(_ask: PageRequest) -> Mapping[str, Any]:
    """Show what can be chosen; the layout knows what is."""
    return {"choices": CHOICES}


PAGES: tuple[Page, ...] = (Page(PATH, "Preferences", "preferences.html", load_choices),)
ACTIONS: tuple[Action, ...] = ()
