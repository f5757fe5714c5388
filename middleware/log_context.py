"""Put the job on every log line."""

import logging

import structlog
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from middleware.job import Job
from workshed import logs

logger = logging.getLogger(__name__)

NAMES = ("job_id", "actor", "queue", "attempt")


class LogContext(Middleware):
    """Bind job id, actor, queue and attempt to the thread while it runs a job.

    *Order:* first of the observers, so that what the others log carries the job too.
    """

    def after_process_boot(self, broker: Broker) -> None:
        """Send all logs of this process through one formatter."""
        logs.configure()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Bind the job."""
        job: Job = message.job
        structlog.contextvars.bind_contextvars(
            job_id=job.message_id,
            actor=message.actor_name,
            queue=message.queue_name,
            attempt=job.attempt,
        )

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        """Unbind it."""
        structlog.contextvars.unbind_contextvars(*NAMES)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Unbind it."""
        structlog.contextvars.unbind_contextvars(*NAMES)
