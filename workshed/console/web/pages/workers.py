"""Workers: the worker processes with their running jobs, and the relays."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from workshed.console.operations.workers import QUIET, RESUME
from workshed.console.web.view.page import Action, Page, PageRequest
from workshed.console.web.view.selection import create_action
from workshed.jobs.control import workers
from workshed.jobs.control.workers import Worker
from workshed.jobs.outbox import relays

BACK = "/workers"


def load_workers(ask: PageRequest) -> Mapping[str, Any]:
    """Show the workers with a heartbeat, silent ones for 5 min, and the relays."""
    return {
        "workers": [describe_worker(one, ask.now) for one in workers.list_workers(ask.conn)],
        "relays": relays.list_relays(ask.conn),
    }


def describe_worker(worker: Worker, now: datetime) -> dict[str, Any]:
    """Return the row of a worker."""
    running = [describe_running_job(job, now) for job in worker.running]
    return {**asdict(worker), "name": worker.name, "state": worker.state, "running": running}


def describe_running_job(job: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return a running job; its start is by the worker's clock, `now` is PostgreSQL's."""
    since = min(now, datetime.fromisoformat(job["since"]))
    return {**job, "runs_since": since, "runs_for": now - since}


PAGES: tuple[Page, ...] = (
    Page(BACK, "Workers", "workers.html", load_workers, group="Tools", is_live=True),
)
ACTIONS: tuple[Action, ...] = (
    create_action("/workers/quiet", QUIET, "id", BACK),
    create_action("/workers/resume", RESUME, "id", BACK),
)
