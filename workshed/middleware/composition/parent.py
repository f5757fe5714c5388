"""Record on each message which job sent it."""

from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from workshed.jobs.context import current_job


class ParentJob(Middleware):
    """Record the id of the sending job on each message, also on those sent with its outcome."""

    def before_enqueue(
        self, broker: Broker, message: dramatiq.Message[Any], delay: int | None
    ) -> None:
        """Record the sending job; a message that is sent again keeps its first sender."""
        parent = current_job()
        if parent is not None:
            message.options.setdefault("parent", parent.message_id)
