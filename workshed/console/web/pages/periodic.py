"""Periodic jobs: list them, run one now, pause or resume it."""

from collections.abc import Mapping
from typing import Any

from workshed.console.operations.periodic import (
    PAUSE,
    RESUME,
    RUN,
    PeriodicJobState,
    as_data,
    list_states,
)
from workshed.console.web.view.page import Action, Page, PageRequest
from workshed.console.web.view.selection import create_action

PATH = "/periodic"


def load_periodic(ask: PageRequest) -> Mapping[str, Any]:
    """Show all periodic jobs by name, with their last and next run."""
    return {"jobs": [_row(one) for one in list_states(ask.conn)]}


def _row(one: PeriodicJobState) -> dict[str, Any]:
    state = "paused" if one.job.paused_at else "active" if one.job.live else "no worker declares it"
    return as_data(one) | {"state": state, "next_at_local": one.next_at_local}


PAGES: tuple[Page, ...] = (
    Page(PATH, "Periodic", "periodic.html", load_periodic, group="Jobs", is_live=True),
)
ACTIONS: tuple[Action, ...] = (
    create_action("/periodic/run", RUN, "name", PATH),
    create_action("/periodic/pause", PAUSE, "name", PATH),
    create_action("/periodic/resume", RESUME, "name", PATH),
)
