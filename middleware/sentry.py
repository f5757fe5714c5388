"""What this service reports to Sentry: the family of each job, and critical jobs sooner."""

from collections.abc import Mapping

from workshed.middleware import Sentry
from workshed.middleware.job import Job, Outcome

CRITICAL_QUEUE = "critical"
"""The queue whose jobs are reported when they first fail: ten attempts of a sync take hours."""


class ShopSentry(Sentry):
    """Tag each event with the family of its job; report critical jobs from their first failure."""

    def tags(self, job: Job) -> Mapping[str, str]:
        """Return the module of the actor, which decides who gets an alert."""
        actor = self.actor_of(job)
        return {"family": actor.fn.__module__.rpartition(".")[2]} if actor is not None else {}

    def is_reported(self, job: Job, outcome: Outcome) -> bool:
        """Also report the first failure of a critical job, but not its later retries."""
        is_first = outcome.kind == "retry" and job.attempt == 1
        is_critical = job.message.queue_name == CRITICAL_QUEUE
        return (is_first and is_critical) or super().is_reported(job, outcome)
