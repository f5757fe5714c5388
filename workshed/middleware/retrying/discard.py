"""Record discarded jobs, for which there was nothing left to do."""

from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq.broker import Broker

from workshed.database.postgres import Connection
from workshed.middleware.job import Job, Outcome, OutcomeMiddleware
from workshed.middleware.observer import Observer
from workshed.middleware.options.signatures import read_signature
from workshed.middleware.retrying.attempt import record_failure

AfterDiscard = Callable[[dramatiq.Message[Any], str], object]


class DiscardRecorder(OutcomeMiddleware, Observer):
    """Record each discarded job with its reason.

    *Options:* `discard_on=` (exceptions that end the job without a retry; `RecordMissing` and
    `workshed.jobs.Discard` always do). `after_discard=`: a function of (message, reason) that is
    called once the discard has committed, whatever its cause. It only observes: no time limit
    applies to it, its errors are logged, and a worker that is killed in between does not call it.
    """

    def __init__(self) -> None:
        self._after: dict[str, AfterDiscard] = {}

    @property
    def actor_options(self) -> set[str]:
        """Which exceptions discard a job of this actor, and what is called afterwards."""
        return {"discard_on", "after_discard"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., object]) -> None:
        """Refuse an `after_discard` that cannot be called."""
        after = actor.options.get("after_discard")
        self._after.pop(actor.actor_name, None)
        if after is not None:
            _check_takes_two(actor.actor_name, after)
            self._after[actor.actor_name] = after

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Return whether the job was discarded."""
        return outcome.is_discarded

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Record the discard."""
        record_failure(conn, job, outcome)

    def on_outcome_stored(self, job: Job, outcome: Outcome) -> None:
        """Call the actor's `after_discard`."""
        after = self._after.get(job.message.actor_name)
        if outcome.is_discarded and after is not None:
            after(job.message, outcome.reason)


def _check_takes_two(name: str, after: object) -> None:
    if not callable(after):
        raise ValueError(f"{name}: after_discard={after!r} is not a function")  # noqa: TRY004 -- as for every option
    try:
        read_signature(after).bind("message", "reason")
    except TypeError as err:
        raise ValueError(
            f"{name}: after_discard is called with (message, reason), and takes "
            f"{read_signature(after)}: {err}"
        ) from None
