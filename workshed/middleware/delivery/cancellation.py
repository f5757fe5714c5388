"""End cancelled jobs instead of running them again."""

from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import MiddlewareError

from workshed.database.postgres import Connection
from workshed.jobs import tags
from workshed.jobs.control import cancellations
from workshed.middleware.job import Job, Outcome, OutcomeKnown, OutcomeMiddleware


class TagsError(MiddlewareError):
    """The tags of a message are invalid."""


class Cancellation(OutcomeMiddleware):
    """Discard a cancelled job that failed or would run again; keep one that succeeded.

    Without it, the retry of a cancelled job would keep its unique key until it is due and
    discarded, possibly for days.

    *Order:* above all middleware that writes, because it replaces the outcome they would write.
    *Options:* `tags=` (up to 10 short strings, by which you select jobs to cancel), also on a
    message, which then has both.
    """

    @property
    def actor_options(self) -> set[str]:
        """The tags of all jobs of an actor."""
        return {"tags"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse tags that a message cannot carry."""
        if "tags" in actor.options and (problem := tags.tags_problem(actor.options["tags"])):
            raise TagsError(f"{actor.actor_name}: tags {problem}")

    def before_enqueue(
        self, broker: Broker, message: dramatiq.Message[Any], delay: int | None
    ) -> None:
        """Add the actor's tags to the message, because a search by tag does not know actors."""
        actor = broker.actors.get(message.actor_name)
        if actor is None or "tags" not in actor.options:
            return
        both = [*actor.options["tags"], *message.options.get("tags", ())]
        found = list(dict.fromkeys(both))
        if problem := tags.tags_problem(found):
            raise TagsError(f"{message.actor_name}: tags, with those of the actor, {problem}")
        message.options["tags"] = found

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Return whether the job neither succeeded nor was discarded."""
        return outcome.kind != "succeeded" and not outcome.is_discarded

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Raise `OutcomeKnown` with the discard."""
        reason = cancellations.cancel_reason(conn, job.message_id, job.cancel_traits)
        if reason is not None:
            raise OutcomeKnown(Outcome("cancelled", reason, outcome.error))


def cancelled_outcome(rule: int | None = None) -> Outcome:
    """Return the outcome of a job that was cancelled before it ran, by its id or a rule."""
    reason = "cancelled" if rule is None else f"cancelled by rule {rule}"
    return Outcome("cancelled", reason)
