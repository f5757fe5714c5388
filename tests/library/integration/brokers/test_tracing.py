"""Spans of OpenTelemetry: one of the sender, one of each run, and the links between them."""

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from workshed.jobs import Discard
from workshed.middleware import Observer
from workshed.middleware.observability.tracing import Tracing
from workshed.settings import settings

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

SOON = {"min_backoff": 1, "max_backoff": 1}


@pytest.fixture
def provider():
    """The provider of spans."""
    return TracerProvider(shutdown_on_exit=False)


@pytest.fixture
def spans(provider):
    """`spans("process work")`: finished spans whose name begins so, oldest first; default all."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def spans(name=""):
        return [span for span in exporter.get_finished_spans() if span.name.startswith(name)]

    return spans


@pytest.fixture
def traced(broker, provider, spans):
    """The broker makes spans, as with `WORKSHED_TRACING=true`."""
    tracing = Tracing(settings(), provider)
    broker.add_middleware(tracing)
    yield
    broker.middleware.remove(tracing)
    broker._hooks.clear()


def test_a_run_is_a_child_of_the_span_that_sent_it(
    traced, provider, actor, working, spans, eventually
):
    @actor(queue_name="default")
    def work(number):
        provider.get_tracer("library").start_span("inside").end()

    with working("default"), provider.get_tracer("app").start_as_current_span("request") as request:
        message = work.send(7)
        eventually(lambda: spans("process"))

    [send], [run], [inside] = spans("send work"), spans("process work"), spans("inside")
    assert (send.kind, run.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert send.parent.span_id == request.get_span_context().span_id
    assert run.parent.span_id == send.context.span_id
    assert inside.parent.span_id == run.context.span_id
    assert len({span.context.trace_id for span in (send, run, inside)}) == 1
    assert dict(run.attributes) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": message.message_id,
        "workshed.actor": "work",
        "workshed.attempt": 1,
        "workshed.outcome": "succeeded",
    }
    assert send.attributes["messaging.operation.type"] == "create"
    assert run.status.status_code is StatusCode.UNSET


def test_each_retry_is_a_trace_of_its_own_with_a_link_to_its_sender(
    traced, actor, working, relaying, spans, eventually
):
    @actor(queue_name="default", max_retries=2, **SOON)
    def fail(number):
        raise OSError("away")

    with relaying(), working("default"):
        fail.send_with_options(args=(7,), delay=10)
        eventually(lambda: len(spans("process")) == 3)

    [send] = spans("send")
    first, *retries = spans("process")
    assert first.parent.span_id == send.context.span_id
    assert first.links == ()
    for span in retries:
        assert span.parent is None
        assert [link.context.span_id for link in span.links] == [send.context.span_id]
    assert [span.attributes["workshed.attempt"] for span in spans("process")] == [1, 2, 3]
    outcomes = [span.attributes["workshed.outcome"] for span in spans("process")]
    assert outcomes == ["retry", "retry", "dead"]
    assert {span.status.status_code for span in spans("process")} == {StatusCode.ERROR}


def test_an_error_is_recorded_without_redacted_arguments(traced, actor, working, spans, eventually):
    """`record_exception` would write the text of the error as it is."""

    @actor(queue_name="default", max_retries=0, redact=["key"])
    def unlock(key):
        raise ValueError(f"no such key: {key}") from OSError("amqp://ada:hunter2@mq")

    with working("default"):
        unlock.send("hunter11")
        eventually(lambda: spans("process"))

    [span] = spans("process")
    [event] = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "ValueError"
    assert "ValueError: no such key: [redacted]" in event.attributes["exception.stacktrace"]
    assert "amqp://ada:[redacted]@mq" in event.attributes["exception.stacktrace"]
    assert span.status.description.endswith("no such key: [redacted]")
    assert "hunter" not in span.to_json()


def test_a_discard_is_no_error(traced, actor, working, spans, eventually):
    @actor(queue_name="default")
    def leave_out():
        raise Discard("paid already")

    with working("default"):
        leave_out.send()
        eventually(lambda: spans("process"))

    [span] = spans("process")
    assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())
    assert span.attributes["workshed.outcome"] == "discarded"


def test_baggage_reaches_the_job_and_not_the_next_one(
    traced, actor, working, spans, relaying, eventually
):
    seen = []

    @actor(queue_name="default", max_retries=1, **SOON)
    def look(number):
        seen.append((number, baggage.get_baggage("shop")))
        if len(seen) == 1:
            raise OSError("away")

    with relaying(), working("default", threads=1):
        token = context.attach(baggage.set_baggage("shop", "north"))
        look.send(1)
        context.detach(token)
        eventually(lambda: len(spans("process")) == 2)
        look.send(2)
        eventually(lambda: len(spans("process")) == 3)

    assert seen == [(1, "north"), (1, "north"), (2, None)]
    assert spans("process")[-1].parent.span_id == spans("send")[-1].context.span_id


def test_no_span_is_current_after_a_job(traced, broker, actor, working, spans, eventually):
    """Without `detach` the thread's work between jobs would be in the trace of the last job."""
    current = []

    class Looks(Observer):
        def before_process_message(self, broker, message):
            current.append(trace.get_current_span().get_span_context().is_valid)

    looks = Looks()
    broker.add_middleware(looks)

    @actor(queue_name="default")
    def work():
        pass

    with working("default", threads=1):
        for number in (1, 2):
            work.send()
            eventually(lambda number=number: len(spans("process")) == number)
    broker.middleware.remove(looks)

    assert current == [False, False]


def test_a_span_processor_that_fails_keeps_no_job_from_being_sent(traced, provider, actor, peek):
    class Broken(SpanProcessor):
        def on_start(self, span, parent_context=None):
            raise OSError("away")

    provider.add_span_processor(Broken())

    @actor(queue_name="default")
    def work():
        pass

    work.send()

    assert peek("default")
