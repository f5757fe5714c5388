"""Tell Sentry's monitors when a periodic job begins and ends; needs its SDK."""

import math
import re
import uuid
from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import dramatiq

from workshed.extras import needed

with needed("sentry"):
    from sentry_sdk.crons import capture_checkin

from workshed.middleware.job import Job, Outcome
from workshed.middleware.runtime.time_limit import DEFAULT_MS, hard_limit_ms

MARGIN_MINUTES = 5
"""How late a run may begin before Sentry says that it was missed."""
LONGEST_SLUG = 50

Actor = dramatiq.Actor[..., Any]


@runtime_checkable
class HasCronSchedule(Protocol):
    """What the option `periodic=` of an actor is, if a monitor can follow it."""

    def monitor(self) -> Mapping[str, Any] | None:
        """Return its `schedule` and `timezone` as a monitor's config has them.

        `{"schedule": {"type": "crontab", "value": "0 9 * * *"}, "timezone": "Europe/Paris"}`, or a
        schedule of `{"type": "interval", "value": 2, "unit": "hour"}`; `None` for one that a
        monitor has no words for. `checkin_margin` and `max_runtime`, in minutes, may be added.
        """


def check_in_started(job: Job, actor: Actor | None) -> None:
    """Say that a run goes on, at each attempt of it."""
    _check_in(job, actor, "in_progress")


def check_in_finished(job: Job, actor: Actor | None, outcome: Outcome) -> None:
    """Say how a run ended, if it will not be tried again."""
    if outcome.is_final:
        _check_in(job, actor, "error" if outcome.is_dead else "ok")


def _check_in(job: Job, actor: Actor | None, status: Literal["in_progress", "ok", "error"]) -> None:
    # One that somebody sends, beside those of the clock, is no run of the schedule.
    if actor is None or "scheduled_for" not in job.message.options:
        return
    spec = actor.options.get("periodic")
    found = spec.monitor() if isinstance(spec, HasCronSchedule) else None
    if found is not None:
        usual = {"checkin_margin": MARGIN_MINUTES, "max_runtime": longest_minutes(actor)}
        config: Any = {**usual, **found}
        capture_checkin(
            monitor_slug(actor.actor_name), check_in_id(job), status, monitor_config=config
        )


def longest_minutes(actor: Actor) -> int:
    """Return how long an attempt may take until it is given up, in whole minutes."""
    limit_ms = actor.options.get("time_limit", DEFAULT_MS)
    return math.ceil(hard_limit_ms(limit_ms, actor.options) / 60_000)


def check_in_id(job: Job) -> str:
    """Return the same for all attempts of a run, in whatever process."""
    return uuid.uuid5(uuid.NAMESPACE_OID, job.message_id).hex


def monitor_slug(name: str) -> str:
    """Return the name of an actor as Sentry takes it."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower())[:LONGEST_SLUG]
