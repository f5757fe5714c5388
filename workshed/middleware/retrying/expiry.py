"""Mark a job dead if it is too late to be of use."""

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
    """Mark a job dead (`expired`) instead of starting it too late.

    The time counts from when you sent the job or, if it was delayed, from when it was due. Retries,
    snoozes and other waits do not extend it. If you retry the dead job by hand, the time starts
    again. A job that has started is not interrupted.

    *Order:* below `Deduplication`, because a copy of a job whose outcome is stored is a duplicate,
    however old. *Options:* `expires=` (a `timedelta`; by default none); on a message in
    milliseconds, which overrides the actor's.
    """

    @property
    def actor_options(self) -> set[str]:
        """How long after it is due a job of this actor may start."""
        return {"expires"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse a limit that would expire every job."""
        span = actor.options.get("expires")
        if span is None:
            return
        if not isinstance(span, timedelta) or span < MILLISECOND:
            raise ValueError(f"{actor.actor_name}: expires={span!r} is not a timedelta above zero")

    def checks_plain_jobs(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return whether its jobs expire."""
        return "expires" in actor.options

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Expire a job that is too late, unless its effects are already committed."""
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
                f"it had to start within {span} of {since:%Y-%m-%d %H:%M:%S} UTC, "
                f"and came {timedelta(seconds=round(late.total_seconds()))} too late{again}",
            )
        )


def allowed_wait(job: Job, actors: timedelta | None) -> timedelta | None:
    """Return the message's limit, or else the actor's; `None`: no limit."""
    own = job.message.options.get("expires")
    return actors if own is None else own * MILLISECOND


def effects_committed(job: Job) -> bool:
    """Return whether the effects of a `once=True` job are committed, so only its ack was lost."""
    with db.transaction() as conn:
        return once_keys.is_claimed(conn, job.message.actor_name, job.message_id)
