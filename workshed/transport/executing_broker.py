"""What brokers share whose jobs run in this process."""

import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.middleware import Middleware

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.outbox.schedule import Reason
from workshed.middleware import Job, Outcome, OutcomeKnown, plain_jobs
from workshed.middleware.composition.callbacks import strip_delay
from workshed.queues import Queue
from workshed.transport.arguments.actor_arguments import ActorArguments
from workshed.transport.base import WorkshedBroker
from workshed.transport.errors import InvalidArgumentError
from workshed.transport.publishing.outgoing import Message

if TYPE_CHECKING:
    from workshed.transport.consuming.delivery import Delivery
    from workshed.transport.consuming.execution import JobExecutor


class ExecutingBroker(WorkshedBroker):
    """A broker that checks each job before it runs, and stores its outcome before observers run.

    These steps are not hooks, because dramatiq drops most exceptions of hooks.
    """

    def __init__(self, queues: dict[str, Queue], middleware: list[Middleware]) -> None:
        super().__init__(queues, middleware)
        self._own_before["process_message"] = self._start
        self._own_after |= {"process_message": self._conclude, "skip_message": self._conclude_skip}

    @property
    def _execution(self) -> "JobExecutor":
        """What runs the checks, and stores the outcomes."""
        raise NotImplementedError

    def _start(self, delivery: "Delivery") -> None:
        """Run the checks before a job, which may prevent it from running."""
        actor = self.actors[delivery.actor_name]
        hooks = self._checks_for(actor, delivery.job)
        arguments = getattr(actor, "arguments", None)
        if arguments is None:
            self._execution.start(delivery, hooks, self)
            return
        decode = functools.partial(_decode_arguments, arguments)
        self._execution.start(delivery, [decode, *hooks], self)
        # Only now, because hooks get the message as it travels.
        delivery.args, delivery.kwargs = delivery.job.arguments or (delivery.args, delivery.kwargs)

    def _checks_for(self, actor: dramatiq.Actor[..., Any], job: Job) -> list[Any]:
        """Return the checks that may concern a job; for plain jobs, found once for each actor."""
        if not job.is_plain:
            return self._hooks_for("before_process_message")
        name = f"checks of {actor.actor_name}"
        found = self._hooks.get(name)
        if found is None:
            found = self._hooks[name] = [
                hook
                for hook in self._hooks_for("before_process_message")
                if plain_jobs.may_check(hook, actor)
            ]
        return found

    def _conclude(
        self,
        delivery: "Delivery",
        *,
        result: object = None,  # noqa: ARG002 -- dramatiq passes it
        exception: BaseException | None = None,
    ) -> None:
        """Store the outcome of a job before anything observes it."""
        _restore_arguments(delivery)
        self._execution.conclude(delivery, self.actors[delivery.actor_name], exception)

    def _conclude_skip(self, delivery: "Delivery") -> None:
        """Store the outcome of a job whose actor raised `SkipMessage`."""
        _restore_arguments(delivery)
        self._execution.conclude_skip(delivery, self.actors[delivery.actor_name])

    def write_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Let each middleware write its part of an outcome, in the caller's transaction."""
        self._execution.write_outcome(conn, job, outcome)

    @db.move_to_joined_thread
    def _store_delayed(self, message: Message, delay: int) -> Message:
        """Store a message that is due after `delay` milliseconds, with its key if it has one.

        The first step of a pipeline may carry a delay of its own. If the pipeline's is as long or
        longer, that one replaces it.
        """
        own = message.options.get("delay")
        if isinstance(own, int) and own <= delay:
            message = strip_delay(message)
        span = timedelta(milliseconds=delay)
        reason: Reason = "delayed" if delay else "transactional"
        with db.transaction() as conn:
            return self.store(conn, message, delay=span, at=None, reason=reason)


def _decode_arguments(arguments: ActorArguments, _broker: object, delivery: "Delivery") -> None:
    """Decode the arguments of a job; it is dead at once if they do not fit, as no retry helps."""
    try:
        delivery.job.arguments = arguments.decode(delivery.job.message)
    except InvalidArgumentError as err:
        raise OutcomeKnown(Outcome("dead", str(err), err)) from err


def _restore_arguments(delivery: "Delivery") -> None:
    """Give hooks the message as it travels."""
    if delivery.job.arguments is not None:
        delivery.args, delivery.kwargs = delivery.job.message.args, delivery.job.message.kwargs
