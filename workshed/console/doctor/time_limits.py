"""Check that time limits, consumer timeouts and shutdown times fit each other."""

from collections.abc import Iterator
from datetime import timedelta

from workshed import duration
from workshed.console.doctor.context import DoctorContext
from workshed.console.formatting import format_duration
from workshed.console.operations.finding import Finding, failed, ok, unchecked
from workshed.console.supervisor.supervisor import RELAY_AFTER_S
from workshed.middleware import TimeLimit
from workshed.middleware.retrying.retries import retry_queues
from workshed.transport import build

LONGEST_SHARE = 0.5
"""Share of the consumer timeout: a job may have waited in the worker for as long again."""

LONGEST_HARD_SHARE = 0.75
"""Share of the consumer timeout: a job that has waited for more than a quarter is requeued."""


def check_time_limits(here: DoctorContext) -> Iterator[Finding]:
    """Compare the time limit of each actor with the consumer timeout of its queue."""
    if not here.packages:
        yield unchecked(
            "the time limits of actors: only their modules have these",
            "workshed doctor --import PACKAGE",
        )
        return
    broker = build.get_broker()
    usual = next(one.default_ms for one in broker.middleware if isinstance(one, TimeLimit))
    wrong = 0
    for name, actor in sorted(broker.actors.items()):
        limit = timedelta(milliseconds=actor.options.get("time_limit", usual))
        queues = [
            broker.declared_queues[queue] for queue in (actor.queue_name, *retry_queues(actor))
        ]
        queue = min(queues, key=lambda queue: queue.consumer_timeout)
        most = queue.consumer_timeout * LONGEST_SHARE
        if limit > most:
            wrong += 1
            yield failed(
                f"{name} may run for {format_duration(limit)}, which is more than half of the "
                "consumer "
                f"timeout of queue {queue.name} ({format_duration(queue.consumer_timeout)})",
                f"time_limit=timedelta(minutes={most / timedelta(minutes=1):g})  (or its own Queue "
                f"with consumer_timeout=timedelta(minutes={2 * limit / timedelta(minutes=1):g}))",
            )
        hard = timedelta(milliseconds=actor.options.get("hard_time_limit", 0))
        most = queue.consumer_timeout * LONGEST_HARD_SHARE
        if hard > most:
            wrong += 1
            yield failed(
                f"{name} has a hard limit of {format_duration(hard)}, which is more than three "
                "quarters "
                f"of the consumer timeout of queue {queue.name} "
                f"({format_duration(queue.consumer_timeout)})",
                f"hard_time_limit=timedelta(minutes={most / timedelta(minutes=1):g})",
            )
    if not wrong:
        yield ok(f"the time limits of {len(broker.actors)} actors fit their queues")


def check_shutdown(here: DoctorContext) -> Iterator[Finding]:
    """Compare the time a worker needs to stop with the time it is given (`--stop-within`)."""
    grace = here.settings.shutdown_grace
    whole = grace + timedelta(seconds=RELAY_AFTER_S)
    takes = (
        f"a worker may take {format_seconds(whole)} to stop ({format_seconds(grace)} for its jobs)"
    )
    given = here.stop_within
    if given is None:
        line = f"workshed doctor --stop-within {duration.format_duration(whole)}"
        unknown = "TimeoutStopSec or terminationGracePeriodSeconds is unknown"
        yield unchecked(f"{takes}: {unknown}", f"{line}  (or your value)")
    elif given < whole:
        fits = max(timedelta(), given - timedelta(seconds=RELAY_AFTER_S))
        yield failed(
            f"{takes} but is killed after {format_seconds(given)}: interrupted jobs leave no "
            "outcome, "
            "and count as crashes",
            f"export WORKSHED_SHUTDOWN_GRACE={duration.format_duration(fits)}  (or allow "
            f"{format_seconds(whole)})",
        )
    else:
        yield ok(f"{takes}, and has {format_seconds(given)}")


def format_seconds(length: timedelta) -> str:
    """Format a length in seconds, as in systemd."""
    return f"{length.total_seconds():g}s"
