"""Queues: how many jobs wait and for how long; pause, resume or purge a queue."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from workshed.console.operations import queues as queue_states
from workshed.console.operations.environment import open_queue_server
from workshed.console.operations.queues import QueueCounts, QueueState
from workshed.console.purging import PurgeCounts
from workshed.console.web.view import cache
from workshed.console.web.view.cache import TtlCache
from workshed.console.web.view.page import Action, ActionRequest, ActionResult, Page, PageRequest
from workshed.console.web.view.selection import ask_to_confirm, create_action
from workshed.errors import WorkshedError
from workshed.settings import settings
from workshed.transport.relay.queue_age import estimate_age, has_waiting_jobs

BACK = "/queues"
MOST_PER_CLICK = 5_000
"""Jobs purged per click, because each ends in its own transaction."""
counts_cache: TtlCache[QueueCounts] = TtlCache(kept_s=2.0)
"""Shared by all viewers, because counting half a million jobs takes PostgreSQL 0.15 s."""


def load_queues(ask: PageRequest) -> Mapping[str, Any]:
    """Show each queue; if RabbitMQ is down, only what PostgreSQL knows of it."""
    server, key = open_queue_server(), settings().database_url
    counts = counts_cache.get(key, lambda: queue_states.count_waiting_and_dead(ask.conn, server))
    names = queue_states.merge_queue_names(ask.conn, counts)
    broker_status = cache.cached_status(ask.conn, names)
    ages, declared = server.waiting_ages(ask.conn), server.declared_queues
    found = queue_states.merge_queue_states(ask.conn, declared, names, counts, broker_status)
    return {
        "queues": [
            {
                **asdict(one),
                "cap": declared[one.name].cap if one.name in declared else None,
                **oldest_job(one, ages),
                "ui": server.find_page_url(one.name),
            }
            for one in found
        ],
        "problems": [str(err) for err in broker_status.errors],
    }


def oldest_job(
    state: QueueState, ages: Mapping[str, tuple[timedelta, timedelta | None]]
) -> dict[str, Any]:
    """Return whether a job waits, and how long the oldest has; `None` if that is unknown."""
    passed, elsewhere = ages.get(state.name, (timedelta(), None))
    waits = has_waiting_jobs(state.ready, elsewhere)
    oldest = estimate_age(state.ready, passed, elsewhere) if waits else None
    return {"waits": waits, "oldest": oldest}


def purge_queue(deed: ActionRequest) -> ActionResult:
    """Discard the ready jobs of a queue, after confirmation."""
    server, name = open_queue_server(), deed.form.one("name")
    purge = queue_states.plan_purge(deed.conn, server, name, MOST_PER_CLICK)
    if purge.count and not deed.form.has("sure"):
        return ask_to_confirm(purge.confirm_text, purge.preview, BACK, [("name", name)])
    done, trouble = PurgeCounts(), ""
    try:
        server.purge_queue(deed.conn, name, purge.count, done)
    except WorkshedError as err:  # jobs that ended before it stay ended, and are recorded
        if not done.count:
            raise
        trouble = f" Interrupted: {err}"
    finally:
        cache.status_cache.clear()
        counts_cache.clear()
    result = purge.result(done, trouble)
    return ActionResult(result.message, result.count, result.details, BACK)


PAGES: tuple[Page, ...] = (
    Page(BACK, "Queues", "queues.html", load_queues, group="Jobs", is_live=True),
)
ACTIONS: tuple[Action, ...] = (
    create_action("/queues/pause", queue_states.PAUSE, "name", BACK),
    create_action("/queues/resume", queue_states.RESUME, "name", BACK),
    Action("/queues/purge", "queues.purge", purge_queue, is_transactional=False),
)
