"""Overview: current activity and problems."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from workshed.console.operations import problems
from workshed.console.operations.environment import (
    has_rabbitmq,
    list_queue_names,
    open_queue_server,
)
from workshed.console.rabbitmq.broker_status import BrokerStatus
from workshed.console.web.view import cache
from workshed.console.web.view.cache import TtlCache
from workshed.console.web.view.page import (
    MOST_COUNTED,
    Action,
    BadQueryError,
    Page,
    PageRequest,
)
from workshed.database.postgres import Connection
from workshed.errors import SettingsError
from workshed.jobs.control import queues, workers
from workshed.jobs.control.queues import KnownQueue
from workshed.jobs.control.workers import Worker
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import runs, throughput
from workshed.jobs.history.throughput import WINDOWS, Throughput, ThroughputWindow
from workshed.jobs.outbox import relays
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import PeriodicJob
from workshed.settings import settings
from workshed.transport.relay.queue_age import estimate_age, has_waiting_jobs

AN_HOUR = timedelta(hours=1)
A_DAY = timedelta(days=1)
OVERDUE = timedelta(minutes=1)
throughput_cache: TtlCache[Throughput] = TtlCache(kept_s=2.0)
"""Shared by all viewers: the runs are measured once per refresh interval of a live page."""


def load_overview(ask: PageRequest) -> Mapping[str, Any]:
    """Show problems, rates, workers, and the oldest waiting job per queue."""
    conn, known = ask.conn, queues.list_queues(ask.conn)
    at_work, beat_at = workers.list_workers(conn), relays.last_beat(conn)
    beat = None if beat_at is None else max(ask.now - beat_at, timedelta())
    broker_status = cache.cached_status(conn, list_names(conn, known))
    waits = waiting_by_queue(conn, known, at_work, broker_status)
    by_calendar = periodic_jobs.list_periodic_jobs(conn)
    recorded, window = settings().history, choose_window(ask)
    return {
        "problems": problems.order_findings(
            problems.judge_alarms(broker_status.alarm),
            problems.judge_unreachable(broker_status.errors),
            problems.judge_relay(beat, publishes=has_rabbitmq()),
            problems.judge_workers(at_work),
            problems.judge_unattended((one["name"] for one in waits if one["waits"]), at_work),
            problems.judge_clock(by_calendar, ask.now, OVERDUE),
            problems.judge_pauses(known, ask.now),
            problems.judge_unused_once(queues.list_unused_once(conn, A_DAY), A_DAY),
            problems.judge_dropped(runs.count_dropped(conn, AN_HOUR), AN_HOUR),
            problems.judge_deaths(_count_dead(conn, AN_HOUR), MOST_COUNTED, AN_HOUR),
        ),
        "recorded": recorded,
        "windows": WINDOWS,
        "window": window,
        "rates": None if recorded == "none" else cached_rates(conn, window, ask.now),
        "queues": waits,
        "workers": count_workers(at_work),
        "relay_beat": beat_at,
        "relay_alive": beat is not None and beat <= relays.DEAD_AFTER,
        "clock": clock_times(conn, by_calendar),
        "dead": _count_dead(conn),
        "counted": MOST_COUNTED,
    }


def choose_window(ask: PageRequest) -> ThroughputWindow:
    """Return the time span that the page shows; raises `BadQueryError` for an unknown one."""
    name = ask.text("window") or WINDOWS[0].name
    for window in WINDOWS:
        if window.name == name:
            return window
    known = ", ".join(window.name for window in WINDOWS)
    raise BadQueryError(f"window: {name!r} is none of {known}")


def list_names(conn: Connection, known: Sequence[KnownQueue]) -> list[str]:
    """Return the queues; only those of the database if no RabbitMQ is configured."""
    try:
        return list_queue_names(conn)
    except SettingsError:
        return [one.name for one in known]


def load_waiting_ages(conn: Connection) -> dict[str, tuple[timedelta, timedelta | None]]:
    """Return the two ages of each queue, as `workers.waiting_ages` does."""
    try:
        return open_queue_server().waiting_ages(conn)
    except SettingsError:
        return workers.waiting_ages(conn)


def waiting_by_queue(
    conn: Connection,
    known: Sequence[KnownQueue],
    at_work: Sequence[Worker],
    broker_status: BrokerStatus,
) -> list[dict[str, Any]]:
    """Return each known queue with its waiting jobs, and the age of the oldest."""
    ages = load_waiting_ages(conn)

    def one(queue: KnownQueue) -> dict[str, Any]:
        depth, (passed, elsewhere) = broker_status.depths.get(queue.name), ages[queue.name]
        ready = None if depth is None else depth.ready
        waits = has_waiting_jobs(ready, elsewhere)
        return {
            "name": queue.name,
            "ready": ready,
            "waits": waits,
            "oldest": estimate_age(ready, passed, elsewhere) if waits else None,
            "workers": sum(worker.alive and queue.name in worker.queues for worker in at_work),
            "paused_at": queue.paused_at,
        }

    return [one(queue) for queue in known if queue.name in ages]


def cached_rates(conn: Connection, window: ThroughputWindow, now: datetime) -> Throughput:
    """Return the rates of a time span, from the cache."""
    span = window.time_range(now)
    return throughput_cache.get(
        (settings().database_url, window.name, span.since),
        lambda: throughput.measure_throughput(conn, window, now),
    )


def count_workers(found: Sequence[Worker]) -> dict[str, int]:
    """Count the workers by state, and the threads of those alive."""
    alive = [one for one in found if one.alive]
    return {
        "alive": len(alive),
        "quiet": sum(one.state == "quiet" for one in alive),
        "silent": len(found) - len(alive),
        "busy": sum(one.busy for one in alive),
        "threads": sum(one.threads for one in alive),
    }


def clock_times(conn: Connection, found: Sequence[PeriodicJob]) -> dict[str, Any]:
    """Return when a run of a periodic job was last created, and when the next is due."""
    awake = [job.next_at for job in found if job.live and job.paused_at is None]
    made = [one.created_at for one in periodic_runs.latest_runs(conn).values()]
    return {
        "jobs": len(found),
        "last": max(made, default=None),
        "next": min(awake, default=None),
    }


def _count_dead(conn: Connection, since: timedelta | None = None) -> int:
    """Count dead jobs, up to one more than is shown."""
    return dead_jobs.count_at_most(conn, dead_jobs.DeadFilter(since=since), most=MOST_COUNTED + 1)


PAGES: tuple[Page, ...] = (
    Page("/", "Overview", "overview.html", load_overview, group="Jobs", is_live=True),
)
ACTIONS: tuple[Action, ...] = ()
