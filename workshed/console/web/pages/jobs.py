"""Jobs: the history of runs and the jobs that are running now, with filters."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import typer

from workshed.console.operations import history, job_counts, running_jobs
from workshed.console.operations.history import ArgumentFilter
from workshed.console.operations.job_counts import CappedCount
from workshed.console.operations.running_jobs import RunningJob
from workshed.console.web.pages import job_search
from workshed.console.web.view import known_names, name_filters
from workshed.console.web.view.name_filters import NameSources
from workshed.console.web.view.page import MOST_COUNTED, Action, BadQueryError, Page, PageRequest
from workshed.database.postgres import Connection
from workshed.jobs.dead import groups as dead_groups
from workshed.jobs.history import error_classes, pagination, run_minutes
from workshed.jobs.history.run_minutes import TimeRange
from workshed.jobs.history.runs import Run, RunFilter
from workshed.jobs.names import Names, split_names, to_name_array
from workshed.jobs.outcomes import FAILED, OUTCOMES
from workshed.settings import settings

COUNTED_RUNS = 5_000
"""The latest runs, of which the tabs count those that match; it takes PostgreSQL some 20 ms."""
FAILED_TAB = "failed"
"""Stands for the outcomes in which an attempt ended in an error."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LONGEST_NAMED = timedelta(days=1)
"""The longest time over which the runs of one actor or queue are counted by minute, because the
numbers of all actors are read for it."""


def load_jobs(ask: PageRequest) -> Mapping[str, Any]:
    """Show the latest matching runs, or the running jobs, and the count of each kind."""
    which = _run_filter(ask)
    current = [one for one in running_jobs.list_running(ask.conn) if _is_match(one, which)]
    about = {"running": CappedCount(min(len(current), MOST_COUNTED), len(current) > MOST_COUNTED)}
    counts = _count_runs(ask, which)
    found = _show_running(current) if ask.text("state") == "running" else _load_history(ask, which)
    return found | {"counts": about | counts}


def load_jobs_form(ask: PageRequest) -> Mapping[str, Any]:
    """Return the names to suggest, and notes about what the filters match."""
    found = name_filters.describe_fields(ask, NAMES)
    with suppress(BadQueryError):  # which is shown instead
        compared = _argument_filter(ask)
        if compared is not None:
            found["field_notes"]["argument"] = compared.describe()
    return found | {"outcomes": [FAILED_TAB, *OUTCOMES]}


def _run_filter(ask: PageRequest) -> RunFilter:
    compared, arguments, value = _argument_filter(ask), None, None
    if compared is not None and compared.name is not None:
        arguments = {compared.name: compared.value}
    elif compared is not None:
        value = json.dumps(compared.value)
    error = name_filters.match_field(ask, "error", NAMES)
    begins = None if error is None else error.begins
    return RunFilter(
        actor=name_filters.matched_names(ask, "actor", NAMES),
        queue=name_filters.matched_names(ask, "queue", NAMES),
        outcomes=_outcomes(ask),
        # By its beginning, because not all classes of the history are known.
        error=None if error is None or begins is not None else error.text,
        error_begins=begins,
        tag=ask.text("tag"),
        parent=ask.text("parent"),
        arguments=arguments,
        argument_value=value,
        recorded_from=ask.moment("since"),
        recorded_before=ask.moment("until"),
        longer_than=ask.duration("longer_than"),
    )


def _list_error_classes(conn: Connection) -> list[str]:
    dead = dead_groups.list_classes(conn, name_filters.MOST_SUGGESTED)
    return sorted({*dead, *error_classes.list_recent_classes(conn)})


NAMES: NameSources = {
    "actor": known_names.list_actor_names,
    "queue": known_names.list_queue_names,
    "error": _list_error_classes,
}


def _outcomes(ask: PageRequest) -> tuple[str, ...]:
    outcome = ask.text("outcome")
    if outcome == FAILED_TAB:
        return FAILED
    try:
        return history.parse_outcomes([outcome] if outcome else [])
    except typer.BadParameter as err:
        raise BadQueryError(err.message, "outcome") from None


def _argument_filter(ask: PageRequest) -> ArgumentFilter | None:
    text = ask.text("argument")
    try:
        return None if text is None else history.parse_argument_filter(text)
    except typer.BadParameter as err:
        raise BadQueryError(err.message, "argument") from None


def _load_history(ask: PageRequest, run_filter: RunFilter) -> dict[str, Any]:
    found, about = job_search.look(ask, run_filter)
    return {"runs": [_run_row(run) for run in found], "running": None, **about}


def _show_running(current: list[RunningJob]) -> dict[str, Any]:
    shown = current[:MOST_COUNTED]
    about = {"older": None, "looked": 0, "looked_down_to": None, "found_before": 0}
    return {"runs": None, "running": shown, **about}


def _is_match(one: RunningJob, run_filter: RunFilter) -> bool:
    return _is_among(one.actor, run_filter.actor) and _is_among(one.queue, run_filter.queue)


def _is_among(name: str, names: Names) -> bool:
    wanted = to_name_array(names)
    return wanted is None or name in wanted


def _count_runs(ask: PageRequest, run_filter: RunFilter) -> dict[str, CappedCount | None]:
    """Count runs by outcome; waiting and dead jobs only without filters, which lack an index."""
    ended = _count_minutes(ask, run_filter) or _count_latest(ask, run_filter)
    is_all = run_filter == RunFilter(outcomes=run_filter.outcomes)
    waiting = job_counts.count_waiting(ask.conn, MOST_COUNTED) if is_all else None
    dead = job_counts.count_dead(ask.conn, MOST_COUNTED) if is_all else None
    return {**ended, "waiting": waiting, "dead": dead}


def _count_minutes(ask: PageRequest, run_filter: RunFilter) -> dict[str, CappedCount | None] | None:
    """Count all runs of whole minutes, as the Overview does; `None` with any other filter."""
    since, until = run_filter.recorded_from, run_filter.recorded_before
    same = RunFilter(
        actor=run_filter.actor,
        queue=run_filter.queue,
        outcomes=run_filter.outcomes,
        recorded_from=since,
        recorded_before=until,
    )
    if run_filter != same or since is None or until is None or not _is_kept(ask, since):
        return None
    actor, actors = split_names(run_filter.actor)
    queue, queues = split_names(run_filter.queue)
    if actors is not None or queues is not None:
        return None
    if any((at - EPOCH) % MINUTE for at in (since, until)):
        return None
    span = TimeRange(since, until)
    if run_minutes.is_behind(ask.conn, span):
        return None
    is_named = actor is not None or queue is not None
    if is_named and (until - since > LONGEST_NAMED or run_minutes.has_other_names(ask.conn, span)):
        return None
    ended = run_minutes.count_by_outcome(ask.conn, span, actor=actor, queue=queue)
    if settings().history == "failures":  # the others are counted, but not recorded
        ended.pop("succeeded", None)
    return {name: CappedCount(count) for name, count in _sum_tabs(ended).items()}


def _is_kept(ask: PageRequest, at: datetime) -> bool:
    """Return whether the runs of this time still exist; their counts are kept longer."""
    return at > ask.now - settings().runs_retention


def _count_latest(ask: PageRequest, run_filter: RunFilter) -> dict[str, CappedCount | None]:
    """Count those of the latest runs."""
    every = RunFilter(
        actor=run_filter.actor,
        parent=run_filter.parent,
        recorded_from=run_filter.recorded_from,
        recorded_before=run_filter.recorded_before,
    )
    down_to = pagination.oldest_within(ask.conn, every, most=COUNTED_RUNS)
    ended = pagination.count_by_outcome(ask.conn, run_filter, down_to=down_to)
    is_cut = down_to is not None
    return {name: _cap_count(count, is_cut=is_cut) for name, count in _sum_tabs(ended).items()}


def _sum_tabs(ended: Mapping[str, int]) -> dict[str, int]:
    return {
        "all": sum(ended.values()),
        "succeeded": ended.get("succeeded", 0),
        FAILED_TAB: sum(ended.get(name, 0) for name in FAILED),
    }


def _cap_count(count: int, *, is_cut: bool) -> CappedCount | None:
    """Return a count of the latest runs; `None` if it is zero and there are others."""
    if is_cut and not count:
        return None
    return CappedCount(min(count, MOST_COUNTED), is_cut or count > MOST_COUNTED)


def _run_row(run: Run) -> dict[str, Any]:
    """Return a run without its traceback, which the page of the job shows."""
    found = asdict(run) | {"call": history.run_as_call(run)}
    del found["traceback"]
    return found


PAGES: tuple[Page, ...] = (
    Page("/jobs", "Jobs", "jobs.html", load_jobs, group="Jobs", load_form=load_jobs_form),
)
ACTIONS: tuple[Action, ...] = ()
