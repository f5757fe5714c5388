"""Traces to a server by OTLP over HTTP, for programs that have not set up OpenTelemetry's SDK."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def create_provider() -> TracerProvider:
    """Return a provider that exports in batches."""
    made = TracerProvider()
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made
