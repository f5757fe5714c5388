"""What is told of each attempt; it watches, and changes nothing."""

from dramatiq.middleware import Middleware

from workshed.middleware.job import Job, Outcome


class Observer(Middleware):
    """Middleware that is told when an actor starts, and what became of each delivery.

    Both are called by the thread that works on the job, `began` downwards and `ended` upwards in
    the middleware's order; only a job that is cut off is told of by another thread. What they raise
    is logged, no more. `job.notes` is there for what one of them keeps of a job in between.
    """

    def began(self, job: Job) -> None:
        """Do something before the actor runs; every check has passed. Not called of other jobs."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Do something once the outcome is stored, and only then: what is delivered again has none.

        Called once of each delivery, also of one whose actor did not run.
        """

    def leaving(self) -> None:
        """Send on what is kept: the process ends in a moment, without its threads and its hooks."""
