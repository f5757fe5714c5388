"""Periodic jobs: list them, run one now, pause or resume it."""

from collections.abc import Mapping
from typing import Any

from workshed.console.operations.periodic import (
    PeriodicJobState,
    as_data,
    describe_run,
    list_states,
    require_jobs,
)
from workshed.console.web.view.page import Action, ActionRequest, ActionResult, Page, PageRequest
from workshed.console.web.view.selection import selected_ids
from workshed.errors import WorkshedError
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import PeriodicJob

PATH = "/periodic"
MOST_PER_CLICK = 1_000
"""Jobs per click; each actor has at most one."""


def load_periodic(ask: PageRequest) -> Mapping[str, Any]:
    """Show all periodic jobs by name, with their last and next run."""
    return {"jobs": [_row(one) for one in list_states(ask.conn)]}


def run_periodic(deed: ActionRequest) -> ActionResult:
    """Create a run of each now, also of paused ones."""
    sent, what = [], []
    for job in _selected_jobs(deed):
        made = periodic_runs.create_run_now(deed.conn, job.name)
        if made is not None and made.message_id is not None:
            sent.append(made.message_id)
        rest = "" if job.live else "; it waits for a worker that has it"
        what.append(f"{job.name}: {describe_run(made)}{rest}")
    about = {"names": deed.form.all("name"), "sent": sent}
    return ActionResult(f"{'; '.join(what)}.", len(sent), about, PATH)


def pause_periodic(deed: ActionRequest) -> ActionResult:
    """Pause periodic jobs; runs due during the pause are skipped."""
    names = [
        job.name for job in _selected_jobs(deed) if periodic_jobs.pause_job(deed.conn, job.name)
    ]
    said = f"{', '.join(names)}: paused. Runs due during the pause are skipped."
    return ActionResult(said, len(names), {"names": names}, PATH)


def resume_periodic(deed: ActionRequest) -> ActionResult:
    """Resume periodic jobs, from their next scheduled time."""
    names = [job.name for job in _selected_jobs(deed) if _resume_job(deed, job)]
    said = f"{', '.join(names)}: resumed." if names else "Nothing was paused."
    return ActionResult(said, len(names), {"names": deed.form.all("name")}, PATH)


def _selected_jobs(deed: ActionRequest) -> list[PeriodicJob]:
    """Return the selected jobs, sorted, because every caller locks them in that order."""
    return require_jobs(deed.conn, sorted(selected_ids(deed.form, "name", MOST_PER_CLICK)))


def _resume_job(deed: ActionRequest, job: PeriodicJob) -> bool:
    try:
        return periodic_jobs.resume_job(deed.conn, job)
    except ValueError as err:
        raise WorkshedError(f"{job.name} cannot be resumed by this release: {err}") from err


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
