"""Bury a job that comes to its start too late to be of use."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from workshed import db
from workshed.jobs.idempotency import once_keys
from workshed.middleware.job import Job, Outcome, OutcomeKnown

MILLISECOND = timedelta(milliseconds=1)


class Expiry(Middleware):
    """Let no job start later than it may; it is dead then, with that reason.

    The time runs from the moment it was sent, of a delayed one from when it was due. No retry,
    snooze or other wait extends it; a redrive lets it begin again, since somebody wants it after
    all. A job that has started is not ended.

    *Order:* below `Deduplication`: a copy of a job whose outcome is stored is a duplicate, however
    old. *Options:* `expires=` (a `timedelta`; none), of a message in milliseconds, before the
    actor's.
    """

    @property
    def actor_options(self) -> set[str]:
        """How long after it is due a job of this actor may start."""
        return {"expires"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse what would bury every job."""
        span = actor.options.get("expires")
        if span is None:
            return
        if not isinstance(span, timedelta) or span < MILLISECOND:
            raise ValueError(f"{actor.actor_name}: expires={span!r} is no timedelta above zero")

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Conclude one that is too late, unless all it was to do is done."""
        job: Job = message.job
        options = broker.get_actor(message.actor_name).options
        if "expires" not in options and "expires" not in job.message.options:
            return
        span = allowed_wait(job, options.get("expires"))
        if span is None:
            return
        since = datetime.fromtimestamp(job.first_due_ms / 1000, UTC)
        late = datetime.fromtimestamp(time.time(), UTC) - since - span
        if late <= timedelta() or (options.get("once") and effects_committed(job)):
            return
        again = "; it was delivered before, so it may have run" if job.redelivered else ""
        raise OutcomeKnown(
            Outcome(
                "expired",
                f"it was to start within {span} of {since:%Y-%m-%d %H:%M:%S} UTC, "
                f"and came {timedelta(seconds=round(late.total_seconds()))} too late{again}",
            )
        )


def allowed_wait(job: Job, actors: timedelta | None) -> timedelta | None:
    """Return how long it may wait: what its message says, else its actor; `None` is for ever."""
    own = job.message.options.get("expires")
    return actors if own is None else own * MILLISECOND


def effects_committed(job: Job) -> bool:
    """Tell whether a job that runs once has its effects: only its ack was lost."""
    with db.transaction() as conn:
        return once_keys.is_claimed(conn, job.message.actor_name, job.message_id)
