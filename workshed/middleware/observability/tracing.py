"""OpenTelemetry spans for sends and runs; imported only if tracing is enabled."""

import logging
import traceback
from contextvars import Token
from typing import Any

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.worker import Worker

from workshed.extras import require_extra
from workshed.value_class import value_class

with require_extra("otel"):
    from opentelemetry import context, trace
    from opentelemetry.baggage.propagation import W3CBaggagePropagator
    from opentelemetry.context import Context
    from opentelemetry.propagators.composite import CompositePropagator
    from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from workshed.jobs import traces
from workshed.jobs.history.attempts import format_error
from workshed.middleware.job import Job, Outcome
from workshed.middleware.observability.redaction import secret_values
from workshed.middleware.observer import Observer
from workshed.scrubbing import Scrubber, collect_secrets
from workshed.settings import Settings

logger = logging.getLogger(__name__)

NAME = "tracing"
FLUSH_MS = 2_000
"""Longest wait for the collector at the end of a process."""

# OTEL_PROPAGATORS is ignored, because a message has no room for the headers of others.
W3C = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])


@value_class
class RunSpan:
    """The span of a run, and the token that restores the previous context."""

    span: Span
    token: Token[Context]


class Tracing(Observer):
    """Create a producer span for each send and a consumer span for each run.

    The span of the first run is a child of its sender's span. Each retry or other later run starts
    a trace of its own with a link to that span, because it may run days later, and no tool shows
    you a trace that lasts that long.
    """

    def __init__(self, config: Settings, provider: trace.TracerProvider | None = None) -> None:
        """Send spans to `provider`, or else to that of the process, whenever it is set."""
        self._secrets = collect_secrets(config)
        self._tracer = trace.get_tracer("workshed", tracer_provider=provider)
        self._actors: dict[str, dramatiq.Actor[..., Any]] = {}
        self._provider: Any = provider

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Keep the actor: its secret arguments are hidden in error texts."""
        self._actors[actor.actor_name] = actor

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Set up the SDK, unless the application has; after the fork, which ends its threads."""
        if self._provider is None:
            self._provider = _ensure_provider()

    def before_enqueue(
        self, broker: Broker, message: dramatiq.Message[Any], delay: int | None
    ) -> None:
        """Record the sender's context; a message that is sent again keeps its first."""
        if "traceparent" in message.options.get("trace", {}):
            return
        try:
            traces.add_headers(message.options, self._headers(message))
        except Exception:  # an application's span processor failed; send the job anyway
            logger.exception("a message is sent without its trace")

    def on_start(self, job: Job) -> None:
        """Start the span, which is current while the actor runs."""
        sent_in = W3C.extract(job.message.options.get("trace", {}), Context())
        sender = trace.get_current_span(sent_in).get_span_context()
        is_first = job.generation == 0
        parent = sent_in if is_first else trace.set_span_in_context(INVALID_SPAN, sent_in)
        span = self._tracer.start_span(
            f"process {job.message.actor_name}",
            context=parent,
            kind=SpanKind.CONSUMER,
            links=[Link(sender)] if sender.is_valid and not is_first else [],
            attributes={
                **_attributes(job.message, "process", "process"),
                "workshed.attempt": job.attempt,
            },
        )
        token = context.attach(trace.set_span_in_context(span, parent))
        job.notes[NAME] = RunSpan(span, token)
        if (found := span.get_span_context()).is_valid:
            job.trace = trace.format_trace_id(found.trace_id)

    def on_outcome_stored(self, job: Job, outcome: Outcome) -> None:
        """End the span with the outcome; called by another thread if the job is cut off."""
        running: RunSpan | None = job.notes.get(NAME)
        if running is None:
            return
        running.span.set_attribute("workshed.outcome", outcome.kind)
        if outcome.kind == "retry" or outcome.is_dead:
            actor = self._actors.get(job.message.actor_name)
            hidden = () if actor is None else secret_values(actor, job.message)
            self._record(running.span, outcome, Scrubber([*self._secrets, *hidden]))
        running.span.end()

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        """Restore the previous context in the thread that changed it."""
        running: RunSpan | None = message.job.notes.pop(NAME, None)
        if running is not None:
            if running.span.is_recording():  # no outcome was stored
                running.span.end()
            context.detach(running.token)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Restore the previous context after a job whose actor skipped it."""
        self.after_process_message(broker, message)

    def on_process_exit(self) -> None:
        """Send pending spans, because the process ends without its threads."""
        if hasattr(self._provider, "force_flush"):
            self._provider.force_flush(FLUSH_MS)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Send pending spans."""
        self.on_process_exit()

    def _headers(self, message: dramatiq.Message[Any]) -> dict[str, str]:
        headers: dict[str, str] = {}
        with self._tracer.start_as_current_span(
            f"send {message.actor_name}",
            kind=SpanKind.PRODUCER,
            attributes=_attributes(message, "send", "create"),
        ):
            W3C.inject(headers)
        return headers

    def _record(self, span: Span, outcome: Outcome, scrubber: Scrubber) -> None:
        """Record why the job failed, as `Span.record_exception` does, but without secrets."""
        span.set_status(Status(StatusCode.ERROR, scrubber.scrub_text(outcome.reason)))
        if (error := outcome.error) is not None:
            span.add_event(
                "exception",
                {
                    "exception.type": type(error).__qualname__,
                    "exception.message": scrubber.scrub_text(format_error(error)),
                    "exception.stacktrace": scrubber.scrub_text(
                        "".join(traceback.format_exception(error))
                    ),
                },
            )


def _attributes(message: dramatiq.Message[Any], name: str, kind: str) -> dict[str, str | int]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": message.queue_name,
        "messaging.message.id": message.message_id,
        "workshed.actor": message.actor_name,
    }


def _ensure_provider() -> trace.TracerProvider:
    """Return the process's provider; if it has none, set one that exports by OTLP over HTTP.

    The SDK reads its own variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, and so on.
    """
    found = trace.get_tracer_provider()
    if not isinstance(found, trace.ProxyTracerProvider):
        return found
    # Imported here, because senders leave the SDK to their application.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    made = TracerProvider()
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(made)
    return made
