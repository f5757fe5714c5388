"""Record the jobs for which there was nothing left to do."""

import inspect
from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq.broker import Broker

from workshed.db import Connection
from workshed.middleware.job import Job, Outcome, OutcomeMiddleware
from workshed.middleware.observer import Observer
from workshed.middleware.retrying.attempt import record_failure

AfterDiscard = Callable[[dramatiq.Message[Any], str], object]


class DiscardRecorder(OutcomeMiddleware, Observer):
    """Write a row, with its reason, for each job that is discarded, and count it.

    *Options:* `discard_on=` (exceptions that end the job without a retry); `RecordMissing` and
    `workshed.jobs.Discard` need no option. `after_discard=`: a function of (message, reason) that
    is called once the discard has committed, whatever its cause. It only observes: no time limit
    holds for it, its failure is logged, and a worker that is killed in between does not call it.
    """

    def __init__(self) -> None:
        """No actor is declared yet."""
        self._after: dict[str, AfterDiscard] = {}

    @property
    def actor_options(self) -> set[str]:
        """Which exceptions end a job of this actor, and who is told."""
        return {"discard_on", "after_discard"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., object]) -> None:
        """Refuse what could not be called."""
        after = actor.options.get("after_discard")
        self._after.pop(actor.actor_name, None)
        if after is not None:
            _check_takes_two(actor.actor_name, after)
            self._after[actor.actor_name] = after

    def concerns(self, job: Job, outcome: Outcome) -> bool:
        """Only a discard."""
        return outcome.is_discarded

    def settle(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Record the discard."""
        record_failure(conn, job, outcome)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Tell whom the actor names of a discard."""
        after = self._after.get(job.message.actor_name)
        if outcome.is_discarded and after is not None:
            after(job.message, outcome.reason)


def _check_takes_two(name: str, after: object) -> None:
    if not callable(after):
        raise ValueError(f"{name}: after_discard={after!r} is no function")  # noqa: TRY004 -- as for every option
    try:
        inspect.signature(after).bind("message", "reason")
    except TypeError as err:
        raise ValueError(
            f"{name}: after_discard is called with (message, reason), and takes "
            f"{inspect.signature(after)}: {err}"
        ) from None
