"""Jobs: the history of runs and the jobs that are running now, with filters."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import typer

from workshed.console.operations import history, job_counts, running_jobs
from workshed.console.operations.job_counts import CappedCount
from workshed.console.operations.running_jobs import RunningJob
from workshed.console.web.view.page import (
    MOST_COUNTED,
    ROWS,
    Action,
    BadQueryError,
    Page,
    PageRequest,
)
from workshed.jobs.history import pagination, run_minutes, runs
from workshed.jobs.history.run_minutes import TimeRange
from workshed.jobs.history.runs import Run, RunFilter, RunPosition
from workshed.jobs.outcomes import FAILED, OUTCOMES
from workshed.settings import settings

MOST_SEARCHED = 5_000
"""Runs that one request searches, whatever the filters; it takes PostgreSQL some 20 ms."""
FAR_SEARCHED = 200_000
"""The same with `look=far`; it takes a second or two."""
FAILED_TAB = "failed"
"""Stands for the outcomes in which an attempt ended in an error."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND, MINUTE = timedelta(microseconds=1), timedelta(minutes=1)
LARGEST_ID = (1 << 63) - 1
POSITION = re.compile(r"([0-9]{1,17})\.([0-9]{1,19})")


def load_jobs(ask: PageRequest) -> Mapping[str, Any]:
    """Show the latest matching runs, or the running jobs, and the count of each kind."""
    which = _run_filter(ask)
    current = [one for one in running_jobs.list_running(ask.conn) if _is_match(one, which)]
    found = _show_running(current) if ask.text("state") == "running" else _load_history(ask, which)
    counts = _count_runs(ask, which)
    about = {"running": CappedCount(min(len(current), MOST_COUNTED), len(current) > MOST_COUNTED)}
    return found | {
        "counts": about | counts,
        "outcomes": [FAILED_TAB, *OUTCOMES],
        "far": FAR_SEARCHED,
    }


def _run_filter(ask: PageRequest) -> RunFilter:
    outcome, named = ask.text("outcome"), ask.text("argument")
    try:
        return RunFilter(
            actor=ask.text("actor"),
            queue=ask.text("queue"),
            outcomes=FAILED
            if outcome == FAILED_TAB
            else history.parse_outcomes([outcome] if outcome else []),
            error=ask.text("error"),
            tag=ask.text("tag"),
            parent=ask.text("parent"),
            arguments=history.parse_arguments(_as_list(named)),
            recorded_from=ask.moment("since"),
            recorded_before=ask.moment("until"),
            longer_than=ask.duration("longer_than"),
        )
    except typer.BadParameter as err:
        raise BadQueryError(err.message) from err


def _as_list(text: str | None) -> list[str]:
    return [] if text is None else [text]


def _load_history(ask: PageRequest, which: RunFilter) -> dict[str, Any]:
    before = _decode_position(ask.text("before"))
    most = FAR_SEARCHED if ask.text("look") == "far" else MOST_SEARCHED
    down_to = pagination.oldest_within(ask.conn, which, before=before, most=most)
    found = runs.list_runs(ask.conn, which, before=before, down_to=down_to, limit=ROWS + 1)
    older = None
    if len(found) > ROWS:
        last = found[ROWS - 1]
        older = _encode_position(RunPosition(last.recorded_at, last.id))
    elif down_to is not None:  # there are older runs, matching or not
        older = _encode_position(RunPosition(down_to - MICROSECOND, LARGEST_ID))
    return {
        "runs": [_run_row(run) for run in found[:ROWS]],
        "running": None,
        "older": older,
        "looked": most,
        "looked_down_to": down_to if len(found) <= ROWS else None,
    }


def _show_running(current: list[RunningJob]) -> dict[str, Any]:
    shown = current[:MOST_COUNTED]
    return {"runs": None, "running": shown, "older": None, "looked": 0, "looked_down_to": None}


def _is_match(one: RunningJob, which: RunFilter) -> bool:
    return which.actor in (None, one.actor) and which.queue in (None, one.queue)


def _count_runs(ask: PageRequest, which: RunFilter) -> dict[str, CappedCount | None]:
    """Count runs by outcome; waiting and dead jobs only without filters, which lack an index."""
    ended = _count_minutes(ask, which) or _count_latest(ask, which)
    is_all = which == RunFilter(outcomes=which.outcomes)
    waiting = job_counts.count_waiting(ask.conn, MOST_COUNTED) if is_all else None
    dead = job_counts.count_dead(ask.conn, MOST_COUNTED) if is_all else None
    return {**ended, "waiting": waiting, "dead": dead}


def _count_minutes(ask: PageRequest, which: RunFilter) -> dict[str, CappedCount] | None:
    """Count all runs of whole minutes, as the Overview does; `None` with any other filter."""
    since, until = which.recorded_from, which.recorded_before
    same = RunFilter(
        actor=which.actor,
        queue=which.queue,
        outcomes=which.outcomes,
        recorded_from=since,
        recorded_before=until,
    )
    if which != same or since is None or until is None or not _is_kept(ask, since):
        return None
    if any((at - EPOCH) % MINUTE for at in (since, until)):
        return None
    span = TimeRange(since, until)
    if run_minutes.is_behind(ask.conn, span):
        return None
    ended = run_minutes.count_by_outcome(ask.conn, span, actor=which.actor, queue=which.queue)
    if settings().history == "failures":  # the others are counted, but not recorded
        ended.pop("succeeded", None)
    return {name: CappedCount(count) for name, count in _sum_tabs(ended).items()}


def _is_kept(ask: PageRequest, at: datetime) -> bool:
    """Tell whether the runs of this time have not been deleted; their counts are kept longer."""
    return at > ask.now - settings().runs_retention


def _count_latest(ask: PageRequest, which: RunFilter) -> dict[str, CappedCount]:
    """Count those of the latest runs."""
    every = RunFilter(
        actor=which.actor,
        parent=which.parent,
        recorded_from=which.recorded_from,
        recorded_before=which.recorded_before,
    )
    down_to = pagination.oldest_within(ask.conn, every, most=MOST_SEARCHED)
    ended = pagination.count_by_outcome(ask.conn, which, down_to=down_to)
    is_cut = down_to is not None
    return {
        name: CappedCount(min(count, MOST_COUNTED), is_cut or count > MOST_COUNTED)
        for name, count in _sum_tabs(ended).items()
    }


def _sum_tabs(ended: Mapping[str, int]) -> dict[str, int]:
    return {
        "all": sum(ended.values()),
        "succeeded": ended.get("succeeded", 0),
        FAILED_TAB: sum(ended.get(name, 0) for name in FAILED),
    }


def _run_row(run: Run) -> dict[str, Any]:
    """Return a run without its traceback, which the page of the job shows."""
    found = asdict(run) | {"call": history.run_as_call(run)}
    del found["traceback"]
    return found


def _encode_position(place: RunPosition) -> str:
    return f"{(place.recorded_at - EPOCH) // MICROSECOND}.{place.id}"


def _decode_position(text: str | None) -> RunPosition | None:
    """Parse a position that `_encode_position` formatted."""
    if text is None:
        return None
    found = POSITION.fullmatch(text)
    if found is None:
        raise BadQueryError(f"before: {text!r} is not a position in the history")
    return RunPosition(EPOCH + int(found[1]) * MICROSECOND, min(int(found[2]), LARGEST_ID))


PAGES: tuple[Page, ...] = (Page("/jobs", "Jobs", "jobs.html", load_jobs, group="Jobs"),)
ACTIONS: tuple[Action, ...] = ()
