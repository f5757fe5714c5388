"""Notify Sentry's cron monitors when a periodic job begins and ends; needs its SDK."""

import math
import re
import uuid
from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import dramatiq

from workshed.extras import require_extra

with require_extra("sentry"):
    from sentry_sdk.crons import capture_checkin

from workshed.middleware.job import Job, Outcome
from workshed.middleware.runtime.time_limit import DEFAULT_MS, hard_limit_ms

MARGIN_MINUTES = 5
"""How late a run may begin before Sentry reports it as missed."""
LONGEST_SLUG = 50

Actor = dramatiq.Actor[..., Any]


@runtime_checkable
class HasCronSchedule(Protocol):
    """The value of an actor's `periodic=` option, if a monitor can follow it."""

    def monitor(self) -> Mapping[str, Any] | None:
        """Return the `schedule` and `timezone` of the monitor's config.

        For example `{"schedule": {"type": "crontab", "value": "0 9 * * *"}, "timezone":
        "Europe/Paris"}`, or a schedule of `{"type": "interval", "value": 2, "unit": "hour"}`.
        Return `None` if a monitor cannot express the schedule. You may add `checkin_margin` and
        `max_runtime`, in minutes.
        """


def check_in_started(job: Job, actor: Actor | None) -> None:
    """Report at each attempt that a run is in progress."""
    _check_in(job, actor, "in_progress")


def check_in_finished(job: Job, actor: Actor | None, outcome: Outcome) -> None:
    """Report how a run ended, if it will not be retried."""
    if outcome.is_final:
        _check_in(job, actor, "error" if outcome.is_dead else "ok")


def _check_in(job: Job, actor: Actor | None, status: Literal["in_progress", "ok", "error"]) -> None:
    # A job without a scheduled time was sent by hand and is no run of the schedule.
    if actor is None or "scheduled_for" not in job.message.options:
        return
    spec = actor.options.get("periodic")
    found = spec.monitor() if isinstance(spec, HasCronSchedule) else None
    if found is not None:
        usual = {"checkin_margin": MARGIN_MINUTES, "max_runtime": max_runtime_minutes(actor)}
        config: Any = {**usual, **found}
        capture_checkin(
            monitor_slug(actor.actor_name), check_in_id(job), status, monitor_config=config
        )


def max_runtime_minutes(actor: Actor) -> int:
    """Return how long an attempt may take before it is given up, in whole minutes."""
    limit_ms = actor.options.get("time_limit", DEFAULT_MS)
    return math.ceil(hard_limit_ms(limit_ms, actor.options) / 60_000)


def check_in_id(job: Job) -> str:
    """Return an id that is the same for all attempts of a run, in any process."""
    return uuid.uuid5(uuid.NAMESPACE_OID, job.message_id).hex


def monitor_slug(name: str) -> str:
    """Return an actor's name in the form that Sentry accepts."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower())[:LONGEST_SLUG]
