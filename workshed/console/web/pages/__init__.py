"""The pages of the console with their actions and downloads, and those of the application."""

import importlib
from functools import cache
from types import ModuleType

from workshed.app import get_app
from workshed.console.web.pages import (
    audit,
    batches,
    dead,
    job,
    jobs,
    limits,
    overview,
    periodic,
    preferences,
    queues,
    scheduled,
    sessions,
    unique,
    workers,
)
from workshed.console.web.view.page import Action, Download, Page

MODULES = (
    overview, queues, jobs, job, dead, scheduled, periodic,
    batches, unique, limits, workers,
    audit, sessions, preferences,
)  # fmt: skip


@cache
def list_modules() -> tuple[ModuleType, ...]:
    """Return Workshed's modules and the application's, which come last in the menu."""
    return (*MODULES, *map(importlib.import_module, get_app().pages))


def list_pages() -> tuple[Page, ...]:
    """Return all pages, in the order of the menu."""
    return tuple(page for module in list_modules() for page in module.PAGES)


def list_actions() -> list[Action]:
    """Return all actions."""
    return [action for module in list_modules() for action in module.ACTIONS]


def list_downloads() -> list[Download]:
    """Return all downloads."""
    return [one for module in list_modules() for one in getattr(module, "DOWNLOADS", ())]
