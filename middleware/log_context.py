"""Put the job on every log line about it, and keep its secret arguments out of them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import structlog
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from middleware.job import Job
from middleware.redaction import arguments, secret_words
from workshed import logs
from workshed.jobs import traces

ARGUMENTS = "Received args=%r kwargs=%r."
"""What dramatiq says, for debugging, when an actor is called; it said so of the message before."""
NAMES = ("job_id", "actor", "queue", "attempt", "trace")


class LogContext(Middleware):
    """Bind job id, actor, queue, attempt and trace to the thread that works on a job.

    It is bound before the first check, and so by the broker: hooks run after some of them.

    *Order:* first of those with `after_*` hooks, so that what these log carries the job too.
    """

    def __init__(self) -> None:
        """No actor is declared yet."""
        self._actors: dict[str, dramatiq.Actor[..., Any]] = {}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Know it: it says which arguments are secret."""
        self._actors[actor.actor_name] = actor

    def after_process_boot(self, broker: Broker) -> None:
        """Send all logs of this process through one formatter."""
        logs.configure()
        for handler in logging.getLogger().handlers:
            handler.addFilter(self._without_secrets)

    def bind(self, job: Job) -> None:
        """Bind a job, until dramatiq is done with it."""
        structlog.contextvars.bind_contextvars(**_fields(job))
        logs.hidden.set(self._words(job))

    @contextmanager
    def about(self, job: Job) -> Iterator[None]:
        """Bind a job for a while, in a thread that is not the one which works on it."""
        hidden = logs.hidden.set(self._words(job))
        try:
            with structlog.contextvars.bound_contextvars(**_fields(job)):
                yield
        finally:
            logs.hidden.reset(hidden)

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
        logs.hidden.set(())

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Unbind it."""
        self.after_process_message(broker, message)

    def _words(self, job: Job) -> tuple[str, ...]:
        actor = self._actors.get(job.message.actor_name)
        return () if actor is None else secret_words(actor, job.message)

    def _without_secrets(self, record: logging.LogRecord) -> bool:
        """Let a record show messages, as dramatiq's do before a job is bound, without secrets."""
        if record.msg == ARGUMENTS and self._hides(structlog.contextvars.get_contextvars()):
            return False
        if isinstance(record.args, tuple):
            record.args = tuple(self._shown(arg) for arg in record.args)
        return True

    def _shown(self, arg: object) -> object:
        if not isinstance(arg, (dramatiq.Message, MessageProxy)):
            return arg
        if not self._hides({"actor": arg.actor_name}):
            return arg
        message = arg._message if isinstance(arg, MessageProxy) else arg  # noqa: SLF001 -- no other way
        shown = arguments(self._actors[arg.actor_name], message).items()
        return f"{arg.actor_name}({', '.join(f'{name}={value!r}' for name, value in shown)})"

    def _hides(self, fields: dict[str, Any]) -> bool:
        actor = self._actors.get(fields.get("actor", ""))
        return actor is not None and bool(actor.options.get("redact"))


def bind_trace(trace_id: str) -> None:
    """Bind the trace that a job runs in, which may be another than its sender's."""
    structlog.contextvars.bind_contextvars(trace=trace_id)


def _fields(job: Job) -> dict[str, Any]:
    fields = {
        "job_id": job.message_id,
        "actor": job.message.actor_name,
        "queue": job.message.queue_name,
        "attempt": job.attempt,
    }
    trace_id = traces.trace_id(job.message.options)
    return fields if trace_id is None else {**fields, "trace": trace_id}
