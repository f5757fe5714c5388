"""What is reported to Sentry about a job; needs its SDK."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import dramatiq

from workshed.extras import require_extra

with require_extra("sentry"):
    import sentry_sdk
    from sentry_sdk.integrations.argv import ArgvIntegration
    from sentry_sdk.integrations.dramatiq import DramatiqIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration, ignore_logger
    from sentry_sdk.scope import Scope, use_isolation_scope
    from sentry_sdk.scrubber import EventScrubber
    from sentry_sdk.tracing import Span, TransactionSource
    from sentry_sdk.types import Event, Hint
    from sentry_sdk.utils import event_from_exception

from workshed.jobs.outcomes import OutcomeKind
from workshed.middleware.job import Job, Outcome
from workshed.middleware.observability import sentry_crons
from workshed.middleware.observability.redaction import redact_arguments, secret_values
from workshed.scrubbing import Scrubber, collect_secrets
from workshed.settings import Settings

ORIGIN = "auto.queue.workshed"
SECRETS_HINT = "workshed words"
"""The key in an event's hint of the secret values of its job."""

# These loggers log errors that are already reported.
DUPLICATE_LOGGERS = ("dramatiq.worker.WorkerThread", "workshed.transport.consuming.execution")
NOT_IN_APP = ["dramatiq", "workshed"]

# Structural fields of an event, which must survive if a secret value happens to equal them.
STRUCTURAL_FIELDS = {
    "event_id",
    "trace_id",
    "span_id",
    "parent_span_id",
    "timestamp",
    "start_timestamp",
}
STRUCTURAL_FIELDS |= {"type", "level", "platform"}
STRUCTURAL_VALUES = re.compile(
    r"[0-9a-f]{16}|[0-9a-f]{32}|\d{4}-\d\d-\d\dT[\d:.]+Z"
    r"|transaction|python|error|fatal|warning|info|debug|default|log|http"
)

STATUS: dict[OutcomeKind, str] = {
    "retry": "internal_error",
    "dead": "internal_error",
    "expired": "deadline_exceeded",
    "poison": "aborted",
    "interrupted": "aborted",
    "cancelled": "cancelled",
}


class SentryRun:
    """A job in its own scope, which leaves nothing behind for the next job of its thread."""

    def __init__(self, config: Settings, job: Job, actor: dramatiq.Actor[..., Any] | None) -> None:
        """Open the scope in the sender's trace; call `close` in the same thread."""
        self._config = config
        self._job = job
        self._actor = actor
        self._transaction: Span | None = None
        self._exit_stack = ExitStack()
        self._scope = self._exit_stack.enter_context(sentry_sdk.isolation_scope())
        self._scope.clear_breadcrumbs()  # left by the thread since its last job
        self._describe()
        self._continued_trace = self._scope.continue_trace(
            job.message.options.get("trace", {}),
            op="queue.process",
            name=job.message.actor_name,
            source=TransactionSource.TASK,
            origin=ORIGIN,
        )

    def run(self) -> None:
        """Open the transaction of a run."""
        job, message = self._job, self._job.message
        self._transaction = self._exit_stack.enter_context(
            sentry_sdk.start_transaction(self._continued_trace)
        )
        self._transaction.set_data("messaging.system", "rabbitmq")
        self._transaction.set_data("messaging.destination.name", message.queue_name)
        self._transaction.set_data("messaging.message.id", job.message_id)
        self._transaction.set_data("messaging.message.retry.count", job.attempt - 1)
        if job.queue_wait_s is not None:
            waited_ms = round(job.queue_wait_s * 1000)
            self._transaction.set_data("messaging.message.receive.latency", waited_ms)
        sentry_crons.check_in_started(job, self._actor)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags to the scope."""
        for name, value in tags.items():
            self._scope.set_tag(name, value)

    @property
    def trace_id(self) -> str:
        """The id of its trace: the sender's, or a new one."""
        return self._continued_trace.trace_id

    def end(self, outcome: Outcome, *, matters: bool) -> None:
        """Record the outcome, and report it if it matters; any thread may call this."""
        if self._transaction is not None:
            self._transaction.set_status(STATUS.get(outcome.kind, "ok"))
        with use_isolation_scope(self._scope):
            if matters:
                sentry_sdk.capture_event(*self._event(outcome))
            sentry_crons.check_in_finished(self._job, self._actor, outcome)

    def close(self) -> None:
        """End the transaction and restore the previous scope."""
        self._exit_stack.close()

    def _describe(self) -> None:
        job, message, actor = self._job, self._job.message, self._actor
        self._scope.set_tag("actor", message.actor_name)
        self._scope.set_tag("queue", message.queue_name)
        self._scope.set_tag("attempt", str(job.attempt))
        self._scope.set_tag("message_id", job.message_id)
        if actor is None:
            return
        if self._config.sentry_arguments:
            self._scope.set_context("arguments", redact_arguments(actor, message))
        hidden = secret_values(actor, message)

        def note_words(event: Event, hint: Hint) -> Event:
            hint[SECRETS_HINT] = hidden
            return event

        self._scope.add_event_processor(note_words)

    def _event(self, outcome: Outcome) -> tuple[Event, Hint]:
        actor = self._job.message.actor_name
        if outcome.error is None:
            fingerprint = [actor, outcome.kind]
            event: Event = {"message": f"{outcome.kind}: {outcome.reason}"}
            hint: Hint = {}
        else:
            fingerprint = ["{{ default }}", actor]
            event, hint = event_from_exception(
                outcome.error,
                sentry_sdk.get_client().options,
                {"type": "workshed", "handled": not outcome.is_final},
            )
        event["level"] = "error"
        event["fingerprint"] = fingerprint
        event["tags"] = {"outcome": outcome.kind}
        event["contexts"] = {"job": self._context(outcome)}
        if self._config.release:
            event["release"] = self._config.release
        return event, hint

    def _context(self, outcome: Outcome) -> dict[str, Any]:
        options = self._job.message.options
        found = {
            "generation": self._job.generation,
            "outcome": outcome.kind,
            "reason": outcome.reason,
            "parent": options.get("parent"),
            "tags": options.get("tags"),
        }
        return {name: value for name, value in found.items() if value is not None}


class SecretScrubber:
    """Removes secrets from an event once nothing more is added to it."""

    def __init__(self, config: Settings, before: Any) -> None:
        """Keep the application's own last step for an event, which runs first."""
        self._secrets = collect_secrets(config)
        self._before_send = before

    def __call__(self, event: Event, hint: Hint) -> Event | None:
        """Return the event without local variables, program arguments and secrets."""
        found = event if self._before_send is None else self._before_send(event, hint)
        if found is None:
            return None
        found.get("extra", {}).pop("sys.argv", None)
        scrubber = Scrubber([*self._secrets, *hint.get(SECRETS_HINT, ())])
        cleaned: Event = scrubber.scrub(_strip_locals(found), _is_structural)
        return cleaned


def start_sdk(config: Settings) -> None:
    """Initialise the SDK unless the application has; scrub outgoing events in either case."""
    if not sentry_sdk.is_initialized():
        assert config.sentry_dsn is not None  # noqa: S101 -- else there is nothing to start
        sentry_sdk.init(
            dsn=config.sentry_dsn.get_secret_value(),
            environment=config.sentry_environment,
            release=config.release or None,
            traces_sample_rate=config.sentry_traces,
            integrations=[LoggingIntegration(event_level=None)],
            disabled_integrations=[DramatiqIntegration, ArgvIntegration],
            include_local_variables=False,
            send_default_pii=False,
            max_request_body_size="never",
            event_scrubber=EventScrubber(recursive=True),
            in_app_exclude=NOT_IN_APP,
        )
    for name in DUPLICATE_LOGGERS:
        ignore_logger(name)
    options = sentry_sdk.get_client().options
    for name in ("before_send", "before_send_transaction"):
        if not isinstance(options[name], SecretScrubber):
            options[name] = SecretScrubber(config, options[name])


def trace_headers(message: dramatiq.Message[Any]) -> dict[str, str]:
    """Return the headers of the trace in which a message is sent, and record the send in it."""
    scope = sentry_sdk.get_current_scope()
    if scope.span is None:
        return dict(scope.iter_trace_propagation_headers())
    with sentry_sdk.start_span(op="queue.publish", name=message.actor_name, origin=ORIGIN) as span:
        span.set_data("messaging.system", "rabbitmq")
        span.set_data("messaging.destination.name", message.queue_name)
        span.set_data("messaging.message.id", message.message_id)
        return dict(Scope.get_current_scope().iter_trace_propagation_headers())


def flush_events(timeout_s: float) -> None:
    """Wait until all events are sent, at most `timeout_s`."""
    sentry_sdk.flush(timeout_s)


def _strip_locals(value: Any) -> Any:
    """Remove the local variables of all frames, which an application's own client may add."""
    match value:
        case dict():
            is_frame = "lineno" in value or "abs_path" in value
            return {
                key: _strip_locals(item)
                for key, item in value.items()
                if not (is_frame and key == "vars")
            }
        case list():
            return [_strip_locals(item) for item in value]
    return value


def _is_structural(key: object, value: str) -> bool:
    return key in STRUCTURAL_FIELDS and STRUCTURAL_VALUES.fullmatch(value) is not None
