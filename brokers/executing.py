"""What every broker does whose jobs are run in this process."""

from datetime import timedelta
from typing import Any

import dramatiq

from brokers.base import DeclaredBroker
from brokers.delivery import Delivery
from brokers.execution import Execution
from brokers.parcel import Message
from middleware import Job, Outcome
from workshed import db
from workshed.db import Connection
from workshed.jobs.schedule import Reason


class Executing(DeclaredBroker):
    """A broker that checks each job before it runs, and stores its outcome before it is observed.

    What must happen around a job is no hook: dramatiq drops what most hooks raise.
    """

    _execution: Execution

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Run the hooks; those before a job may keep it from running."""
        if signal == "process_message":
            self._execution.start(args[0], self._resolved("before_process_message"), self)
        else:
            super().emit_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Store the outcome of a job before anything observes it."""
        match signal:
            case "process_message":
                delivery: Delivery = args[0]
                self._execution.conclude(delivery, self._actor(delivery), kwargs.get("exception"))
            case "skip_message":
                self._execution.skipped(args[0], self._actor(args[0]))
        super().emit_after(signal, *args, **kwargs)

    def settle(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Let each middleware write what follows from an outcome, in the caller's transaction."""
        self._execution.settle(conn, job, outcome)

    def _actor(self, delivery: Delivery) -> dramatiq.Actor[..., Any]:
        return self.get_actor(delivery.actor_name)

    def _later(self, message: Message, delay: int) -> Message:
        """Store a message that is due after `delay` milliseconds, with its key if it has one."""
        span = timedelta(milliseconds=delay)
        reason: Reason = "delay" if delay else "send"
        with db.transaction() as conn:
            return self.store(conn, message, delay=span, at=None, reason=reason)
