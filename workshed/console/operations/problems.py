"""Problems that keep jobs from running: for each cause, a message and a fix.

The functions judge data that the caller has fetched; they fetch nothing themselves.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from workshed.console.formatting import format_ago, format_duration, format_job_count
from workshed.console.operations.finding import Finding, PageLink, failed, warning
from workshed.errors import WorkshedError
from workshed.jobs.control.queues import KnownQueue
from workshed.jobs.control.workers import Worker
from workshed.jobs.outbox import relays
from workshed.jobs.periodic.periodic_jobs import PeriodicJob

START_RELAY = "workshed relay  (a worker starts one as well)"
START_WORKER = "workshed worker"
CLEAR_ALARM = "rabbitmq-diagnostics alarms  (then free memory or disk on that host)"
RELAYS = PageLink("/workers#relays", "Relays")
WORKERS = PageLink("/workers", "Workers")


def judge_alarms(said: str | None) -> Finding | None:
    """Judge RabbitMQ's alarms; while there is one, senders block."""
    return failed(f"RabbitMQ takes no messages: {said}", CLEAR_ALARM) if said else None


def judge_unreachable(troubles: Iterable[WorkshedError]) -> list[Finding]:
    """Return why RabbitMQ could not be asked; the errors themselves say what to do."""
    return [failed(str(err), "") for err in troubles]


def judge_relay(last_beat: timedelta | None, *, publishes: bool = True) -> Finding | None:
    """Judge the age of the last heartbeat of any relay; `None` if there never was one.

    `publishes`: relays publish jobs on RabbitMQ. Without one, workers find due jobs themselves.
    """
    duties = "missed periodic runs are not created, and jobs that wait for a limit may wait on"
    if last_beat is None:
        lack = "delayed jobs, retries and outbox jobs are not published" if publishes else duties
        return failed(f"no relay is running: {lack}", START_RELAY, RELAYS)
    if last_beat > relays.DEAD_AFTER:
        lack = "delayed jobs and retries wait" if publishes else duties
        said = f"no relay heartbeat for {format_duration(last_beat)}: {lack}"
        return failed(said, START_RELAY, RELAYS)
    return None


def judge_workers(found: Sequence[Worker]) -> Finding | None:
    """Check that some worker starts jobs."""
    alive = [one for one in found if one.alive]
    if not alive:
        return failed("no worker is running, so no job runs", START_WORKER, WORKERS)
    if all(one.state == "quiet" for one in alive):
        said = f"no job starts: all {len(alive)} running workers are quiet"
        fix = " ".join(["workshed workers resume", *(one.name for one in alive)])
        return failed(said, fix, PageLink("/workers", "Resume workers"))
    return None


def judge_unattended(waiting: Iterable[str], found: Iterable[Worker]) -> Finding | None:
    """Check that a worker consumes each queue in which jobs wait, if any worker is running."""
    listened = {queue for one in found if one.alive for queue in one.queues}
    alone = sorted({*waiting} - listened)
    if not (alone and listened):
        return None
    options = " ".join(f"--queue {name}" for name in alone)
    said = f"no worker consumes {', '.join(alone)}: jobs wait"
    return failed(said, f"{START_WORKER} {options}", WORKERS)


def judge_clock(found: Iterable[PeriodicJob], now: datetime, overdue: timedelta) -> Finding | None:
    """Check that the runs of periodic jobs are created, at most `overdue` late."""
    awake = [job for job in found if job.paused_at is None and job.live]
    late = [job for job in awake if now - job.next_at > overdue]
    if not late:
        return None
    first = min(late, key=lambda job: job.next_at)
    said = (
        f"{first.name} was due {format_duration(now - first.next_at)} ago: its runs are not created"
    )
    return failed(said, START_RELAY, RELAYS)


def judge_pauses(found: Iterable[KnownQueue], now: datetime) -> list[Finding]:
    """Find paused queues, which an operator may have forgotten."""
    return [
        warning(
            f"{queue.name} was paused {format_ago(queue.paused_at, now)}",
            f"workshed queues resume {queue.name}",
            PageLink(f"/queues#queue-{quote(queue.name)}", f"Resume {queue.name}"),
        )
        for queue in found
        if queue.paused_at is not None
    ]


def judge_unused_once(actors: Sequence[str], span: timedelta) -> Finding | None:
    """Judge which actors have `once=True`, but did not use its transaction within `span`."""
    if not actors:
        return None
    said = (
        f"{', '.join(actors)} with once=True did not use the transaction of the job in the last "
        f"{format_duration(span)}: what is written on another connection may happen twice"
    )
    fix = (
        "write through db.transaction(), job_session() or workshed.contrib.django, or leave out "
        "once=True"
    )
    return warning(said, fix, PageLink(f"/jobs?actor={quote(actors[0])}", f"Jobs of {actors[0]}"))


def judge_dropped(runs: int, span: timedelta) -> Finding | None:
    """Judge how many runs the history lacks; its figures are too low by that number."""
    if not runs:
        return None
    said = f"{runs} runs of the last {format_duration(span)} were not recorded"
    return warning(f"{said}, because PostgreSQL was down or slow", "workshed doctor")


def judge_deaths(number: int, most: int, span: timedelta) -> Finding | None:
    """Judge how many jobs died within `span`; more than `most` were not counted."""
    if not number:
        return None
    many = f"more than {most} jobs" if number > most else format_job_count(number)
    return warning(
        f"{many} failed permanently in the last {format_duration(span)}",
        "workshed dead list --group",
        PageLink(f"/dead?since={format_duration(span)}", "Dead jobs by error"),
    )


def order_findings(*found: Finding | Iterable[Finding] | None) -> list[Finding]:
    """Merge findings, the failed ones first."""
    several: list[Finding] = []
    for one in found:
        if isinstance(one, Finding):
            several.append(one)
        elif one is not None:
            several += one
    return sorted(several, key=lambda one: one.level != "failed")
