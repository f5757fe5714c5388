"""The job that a test expects to be enqueued, and how other jobs differ from it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import dramatiq

from workshed.middleware.options.signatures import read_signature
from workshed.testing import text
from workshed.testing.enqueued import EnqueuedJob
from workshed.transport.errors import InvalidArgumentError
from workshed.value_class import value_class

Actor = dramatiq.Actor[..., Any]


@value_class
class ExpectedJob:
    """What a job must be; `None` matches anything."""

    actor: Actor
    arguments: Mapping[str, Any] | None
    queue: str | None = None
    priority: int | None = None
    in_: timedelta | None = None
    at: datetime | None = None
    within: timedelta = timedelta(seconds=1)
    """How far off `in_` and `at` may be."""

    def differences(self, job: EnqueuedJob) -> list[str]:
        """Return how a job differs; empty if it matches."""
        found = []
        if self.arguments is not None:
            found += self._argument_differences(job, self.arguments)
        if self.queue is not None and job.queue != self.queue:
            found.append(f"on {job.queue}")
        if self.priority is not None and job.priority != self.priority:
            found.append(f"priority {job.priority}")
        if self.in_ is not None and abs(job.delay - self.in_) > self.within:
            found.append(text.due_text(job))
        if self.at is not None and abs(job.due_at - self.at) > self.within:
            found.append(f"at {job.due_at.astimezone(self.at.tzinfo).isoformat(' ')}")
        return found

    def _argument_differences(self, job: EnqueuedJob, expected: Mapping[str, Any]) -> list[str]:
        try:
            theirs = name_arguments(self.actor, job.message.args, job.message.kwargs)
            decoded = self._decode(job)
        except (TypeError, InvalidArgumentError) as err:  # sent by SQL, which may not fit
            return [str(err)]
        return [
            f"{name} is {decoded[name]!r}"
            for name, value in expected.items()
            # In its plain JSON form, or as the actor gets it.
            if not (value == theirs[name] or value == decoded[name])
        ]

    def _decode(self, job: EnqueuedJob) -> dict[str, Any]:
        """Return the arguments that the actor will get."""
        arguments = getattr(self.actor, "arguments", None)
        if arguments is None:
            return name_arguments(self.actor, job.message.args, job.message.kwargs)
        return name_arguments(self.actor, *arguments.decode(job.message))

    def split(self, jobs: Sequence[EnqueuedJob]) -> tuple[list[EnqueuedJob], list[EnqueuedJob]]:
        """Split the actor's jobs into those that match and the rest, the closest first."""
        ours = [job for job in jobs if job.actor == self.actor.actor_name]
        rest = [job for job in ours if self.differences(job)]
        same = [job for job in ours if job not in rest]
        return same, sorted(rest, key=lambda job: len(self.differences(job)))

    def __str__(self) -> str:
        """Return it as a call, with its other requirements."""
        parts = [text.call_text(self.actor.actor_name, self.arguments)]
        if self.queue is not None:
            parts.append(f"on {self.queue}")
        if self.priority is not None:
            parts.append(f"priority {self.priority}")
        if self.in_ is not None:
            parts.append(f"in {text.span_text(self.in_)}")
        if self.at is not None:
            parts.append(f"at {self.at.isoformat(' ')}")
        return "  ".join(parts)


def name_arguments(actor: Actor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by parameter name, including defaults; raises `TypeError`."""
    signature = read_signature(actor.fn)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as err:
        raise TypeError(f"{actor.actor_name}{signature}: {err}") from None
    bound.apply_defaults()
    return bound.arguments
