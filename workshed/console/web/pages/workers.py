"""Workers: the worker processes with their running jobs, and the relays."""

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
    """Show the workers with a heartbeat, silent ones for another hour, and the relays."""
    return {
        "workers": [describe_worker(one, ask.now) for one in workers.list_workers(ask.conn)],
        "relays": relays.list_relays(ask.conn),
    }


def describe_worker(worker: Worker, now: datetime) -> dict[str, Any]:
    """Return the row of a worker; run times compare its own clock with PostgreSQL's."""
    running = [
        {**job, "runs_for": max(now - datetime.fromisoformat(job["since"]), timedelta())}
        for job in worker.running
    ]
    return {**asdict(worker), "name": worker.name, "state": worker.state, "running": running}


def quiet_worker_action(deed: ActionRequest) -> ActionResult:
    """Quiet a worker, so that it starts no more jobs."""
    worker = selected_worker(deed)
    workers.quiet_worker(deed.conn, worker.id)
    said = f"Within 3 s, {worker.name} starts no more jobs; its running jobs finish."
    return ActionResult(said, 1, worker_details(worker), BACK)


def resume_worker_action(deed: ActionRequest) -> ActionResult:
    """Let a quiet worker start jobs again."""
    worker = selected_worker(deed)
    workers.resume_worker(deed.conn, worker.id)
    return ActionResult(
        f"{worker.name} starts jobs again within 3 s.", 1, worker_details(worker), BACK
    )


def selected_worker(deed: ActionRequest) -> Worker:
    """Return the worker whose id is in a form; raises `NotFoundError`."""
    found = {one.id: one for one in workers.list_workers(deed.conn)}
    worker = found.get(deed.form.one("id"))
    if worker is None:
        raise NotFoundError("This worker is gone: it has exited or was restarted.")
    return worker


def worker_details(worker: Worker) -> dict[str, str]:
    """Return the details of a worker for the audit."""
    return {"id": worker.id, "worker": worker.name}


PAGES: tuple[Page, ...] = (
    Page(BACK, "Workers", "workers.html", load_workers, group="Tools", is_live=True),
)
ACTIONS: tuple[Action, ...] = (
    Action("/workers/quiet", "workers.quiet", quiet_worker_action),
    Action("/workers/resume", "workers.resume", resume_worker_action),
)
