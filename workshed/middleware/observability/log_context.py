"""Put the job on each log line about it, and keep its secret arguments out."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from workshed import logs
from workshed.middleware.job import Job
from workshed.middleware.observability.redaction import redact_arguments, secret_values

ACTOR_CALL_LINE = "Received args=%r kwargs=%r."
"""dramatiq's debug line when an actor is called; it has already logged the message."""


class LogContext(Middleware):
    """Bind message id, actor, queue, attempt and trace to the thread that works on a job.

    The broker binds them before the first check, because hooks run only after some of the checks.

    *Order:* first of the middleware with `after_*` hooks, so that their log lines carry the job
    too.
    """

    def __init__(self) -> None:
        self._actors: dict[str, dramatiq.Actor[..., Any]] = {}
        self._is_configured = False

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Keep the actor, which names its secret arguments."""
        self._actors[actor.actor_name] = actor

    def after_process_boot(self, broker: Broker) -> None:
        """Send all logs of this process through one formatter, unless that is done already.

        A web process has a format of its own, in which only secret arguments are hidden.
        """
        if self._is_configured:
            return
        if getattr(broker, "is_embedded", False):
            self._hide_secrets_in_handlers()
        else:
            self.configure_logging()

    def configure_logging(self) -> None:
        """Send all logs through one formatter; what your modules configure later is kept.

        A process that forks workers does this before it imports them.
        """
        logs.configure_logging()
        self._hide_secrets_in_handlers()

    def _hide_secrets_in_handlers(self) -> None:
        self._is_configured = True
        for handler in logging.getLogger().handlers:
            handler.addFilter(self._hide_secrets)

    def bind(self, job: Job) -> None:
        """Bind a job until dramatiq is done with it."""
        actor = self._actors.get(job.message.actor_name)
        if actor is not None and actor.options.get("redact"):
            job.secrets = secret_values(actor, job.message)
        logs.log_subject.set(job)

    @contextmanager
    def bind_temporarily(self, job: Job) -> Iterator[None]:
        """Bind a job for a while in a thread other than the one that works on it."""
        before = logs.log_subject.get()
        self.bind(job)
        try:
            yield
        finally:
            logs.log_subject.set(before)

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        """Unbind the job."""
        logs.log_subject.set(None)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Unbind the job."""
        self.after_process_message(broker, message)

    def _hide_secrets(self, record: logging.LogRecord) -> bool:
        """Hide secret arguments in a record, also of messages logged before a job is bound."""
        about = logs.log_subject.get()
        if (
            record.msg == ACTOR_CALL_LINE
            and about is not None
            and self._has_secrets(about.log_fields)
        ):
            return False
        if isinstance(record.args, tuple):
            record.args = tuple(self._redact_argument(arg) for arg in record.args)
        return True

    def _redact_argument(self, arg: object) -> object:
        if not isinstance(arg, (dramatiq.Message, MessageProxy)):
            return arg
        if not self._has_secrets({"actor": arg.actor_name}):
            return arg
        message = arg._message if isinstance(arg, MessageProxy) else arg  # noqa: SLF001 -- no other way
        shown = redact_arguments(self._actors[arg.actor_name], message).items()
        return f"{arg.actor_name}({', '.join(f'{name}={value!r}' for name, value in shown)})"

    def _has_secrets(self, fields: dict[str, Any]) -> bool:
        actor = self._actors.get(fields.get("actor", ""))
        return actor is not None and bool(actor.options.get("redact"))
