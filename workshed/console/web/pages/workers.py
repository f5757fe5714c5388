"""Workers: which processes run jobs, what each does now, and which relays send what is due."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from workshed.console.errors import NotFoundError
from workshed.console.web.view.page import Action, ActionRequest, ActionResult, Page, PageRequest
from workshed.jobs.control import workers
from workshed.jobs.control.workers import Worker
from workshed.jobs.outbox import relays

BACK = "/workers"


def load_workers(ask: PageRequest) -> Mapping[str, Any]:
    """Show all that beat, and for another hour those that no longer do."""
    return {
        "workers": [describe_worker(one, ask.now) for one in workers.list_workers(ask.conn)],
        "relays": relays.list_relays(ask.conn),
    }


def describe_worker(worker: Worker, now: datetime) -> dict[str, Any]:
    """Return what is known of one; how long its jobs run is by its own clock and PostgreSQL's."""
    running = [
        {**job, "runs_for": max(now - datetime.fromisoformat(job["since"]), timedelta())}
        for job in worker.running
    ]
    return {**asdict(worker), "name": worker.name, "state": worker.state, "running": running}


def quiet_worker_action(deed: ActionRequest) -> ActionResult:
    """Let one start nothing more."""
    worker = selected_worker(deed)
    workers.quiet_worker(deed.conn, worker.id)
    said = f"{worker.name} starts nothing more, within 3 s; what runs there ends."
    return ActionResult(said, 1, worker_details(worker), BACK)


def resume_worker_action(deed: ActionRequest) -> ActionResult:
    """Let it start jobs again."""
    worker = selected_worker(deed)
    workers.resume_worker(deed.conn, worker.id)
    return ActionResult(
        f"{worker.name} starts jobs again, within 3 s.", 1, worker_details(worker), BACK
    )


def selected_worker(deed: ActionRequest) -> Worker:
    """Return the worker that a form names by its id."""
    found = {one.id: one for one in workers.list_workers(deed.conn)}
    worker = found.get(deed.form.one("id"))
    if worker is None:
        raise NotFoundError("This worker is gone: it has ended, or was restarted since.")
    return worker


def worker_details(worker: Worker) -> dict[str, str]:
    """Name it in the audit."""
    return {"id": worker.id, "worker": worker.name}


PAGES: tuple[Page, ...] = (
    Page(BACK, "Workers", "workers.html", load_workers, group="Tools", is_live=True),
)
ACTIONS: tuple[Action, ...] = (
    Action("/workers/quiet", "workers.quiet", quiet_worker_action),
    Action("/workers/resume", "workers.resume", resume_worker_action),
)
