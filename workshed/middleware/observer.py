"""The base of middleware that watches jobs without changing them."""

from dramatiq.middleware import Middleware

from workshed.middleware.job import Job, Outcome


class Observer(Middleware):
    """Middleware that is called when an actor starts, and with the outcome of each delivery.

    Both methods are called by the thread that runs the job, `on_start` in the order of the
    middleware and `on_outcome_stored` in reverse. For a job that is abandoned, another thread calls
    `on_outcome_stored`. Errors they raise are only logged. Keep what you need between the two calls
    in `job.notes`.
    """

    def on_start(self, job: Job) -> None:
        """React to the start of an actor: every check has passed. Not called for other jobs."""

    def on_outcome_stored(self, job: Job, outcome: Outcome) -> None:
        """React to a stored outcome; a delivery that will be redelivered has none.

        Called once for each delivery, even if its actor did not run.
        """

    def on_process_exit(self) -> None:
        """Send what is buffered: the process is about to end without its threads and its hooks."""
