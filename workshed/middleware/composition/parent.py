"""Note on each message which job sent it."""

from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from workshed.jobs.context import current_job


class ParentJob(Middleware):
    """Put the id of the job that sends into what it sends, also what is sent with its outcome."""

    def before_enqueue(
        self, broker: Broker, message: dramatiq.Message[Any], delay: int | None
    ) -> None:
        """Note it; a message that is put back on its way keeps its first sender."""
        parent = current_job()
        if parent is not None:
            message.options.setdefault("parent", parent.message_id)
