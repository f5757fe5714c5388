"""End what was cancelled, instead of putting it back on its way."""

from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import MiddlewareError

from workshed.db import Connection
from workshed.jobs import tags
from workshed.jobs.control import cancellations
from workshed.middleware.job import Job, Outcome, OutcomeKnown, OutcomeMiddleware


class TagsError(MiddlewareError):
    """Tags that a message cannot carry."""


class Cancellation(OutcomeMiddleware):
    """Discard a cancelled job that failed, or that asks to run again; keep one that succeeded.

    Else its next generation would wait, with its lock, to be discarded when it is due, which may be
    days.

    *Order:* above all that write: the outcome they write is another one. *Options:* `tags=` (up to
    10 short strings, by which rules and filters cancel), also of a message, which has both.
    """

    @property
    def actor_options(self) -> set[str]:
        """Tags of all jobs of an actor."""
        return {"tags"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse tags that a message could not carry."""
        if "tags" in actor.options and (problem := tags.tags_problem(actor.options["tags"])):
            raise TagsError(f"{actor.actor_name}: tags {problem}")

    def before_enqueue(
        self, broker: Broker, message: dramatiq.Message[Any], delay: int | None
    ) -> None:
        """Put the actor's tags on the message: what looks for them knows no actors."""
        actor = broker.actors.get(message.actor_name)
        if actor is None or "tags" not in actor.options:
            return
        both = [*actor.options["tags"], *message.options.get("tags", ())]
        found = list(dict.fromkeys(both))
        if problem := tags.tags_problem(found):
            raise TagsError(f"{message.actor_name}: tags, with those of the actor, {problem}")
        message.options["tags"] = found

    def concerns(self, job: Job, outcome: Outcome) -> bool:
        """Whatever is not the end the job came to by itself."""
        return outcome.kind != "succeeded" and not outcome.is_discarded

    def settle(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Raise `OutcomeKnown` with the discard."""
        reason = cancellations.cancel_reason(conn, job.message_id, job.cancel_traits)
        if reason is not None:
            raise OutcomeKnown(Outcome("cancelled", reason, outcome.error))


def cancelled_outcome(rule: int | None = None) -> Outcome:
    """Return the outcome of a job that was cancelled before it ran, by its id or a rule."""
    reason = "cancelled" if rule is None else f"cancelled by rule {rule}"
    return Outcome("cancelled", reason)
