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
from workshed.console.web.view.page import Action, ActionRequest, ActionResult, Page, PageRequest
from workshed.console.web.view.selection import run_operation

PATH = "/periodic"


def load_periodic(ask: PageRequest) -> Mapping[str, Any]:
    """Show all periodic jobs by name, with their last and next run."""
    return {"jobs": [_row(one) for one in list_states(ask.conn)]}


def run_periodic(deed: ActionRequest) -> ActionResult:
    """Create a run of each now, also of paused ones."""
    return run_operation(deed, RUN, "name", PATH)


def pause_periodic(deed: ActionRequest) -> ActionResult:
    """Pause periodic jobs; runs due during the pause are skipped."""
    return run_operation(deed, PAUSE, "name", PATH)


def resume_periodic(deed: ActionRequest) -> ActionResult:
    """Resume periodic jobs, from their next scheduled time."""
    return run_operation(deed, RESUME, "name", PATH)


def _row(one: PeriodicJobState) -> dict[str, Any]:
    state = "paused" if one.job.paused_at else "active" if one.job.live else "no worker has it"
    return as_data(one) | {"state": state, "next_at_local": one.next_at_local}


PAGES: tuple[Page, ...] = (
    Page(PATH, "Periodic", "periodic.html", load_periodic, group="Jobs", is_live=True),
)
ACTIONS: tuple[Action, ...] = (
    Action("/periodic/run", "periodic.run", run_periodic),
    Action("/periodic/pause", "periodic.pause", pause_periodic),
    Action("/periodic/resume", "periodic.resume", resume_periodic),
)
