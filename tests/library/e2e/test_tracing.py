"""Spans of real workers, as a collector of OTLP receives them."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dramatiq import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ACTORS = """
import logging, time
import dramatiq
from workshed import broker
from workshed.duration import ms
from opentelemetry import trace

@dramatiq.actor(broker=broker, queue_name="low", max_retries=0)
def work(number):
    logging.getLogger("parts").info("working")
    with trace.get_tracer("library").start_as_current_span("inside"):
        pass

@dramatiq.actor(
    broker=broker, queue_name="low", time_limit=ms(seconds=0.1), hard_time_limit=400, max_retries=0
)
def hang(number):
    time.sleep(600)
"""
PLAIN = """
import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker, queue_name="low", max_retries=0)
def work(number):
    raise OSError("worked")

if __name__ == "__main__":
    work.send(7)
"""


class Collector(BaseHTTPRequestHandler):
    """Keeps the spans that are posted to it, each with its service."""

    spans = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            [service] = [
                one.value.string_value
                for one in resource.resource.attributes
                if one.key == "service.name"
            ]
            for scope in resource.scope_spans:
                self.spans.extend((service, span) for span in scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collected():
    """The spans that were received; `OTEL_EXPORTER_OTLP_ENDPOINT` is `collected.url`."""

    class Spans(list):
        url = ""

    spans = Spans()
    handler = type("Handler", (Collector,), {"spans": spans})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    spans.url = f"http://127.0.0.1:{server.server_port}"
    yield spans
    server.shutdown()
    server.server_close()


@pytest.fixture
def start(start_worker, collected, tmp_path):
    """`start()`: a worker that makes spans."""

    def start():
        (tmp_path / "parts.py").write_text(ACTORS)
        env = {
            "WORKSHED_TRACING": "true",
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collected.url,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",  # nothing is sent before a flush
        }
        return start_worker("parts", env=env)

    return start


def test_the_sdk_is_set_up_after_the_fork_and_flushed_at_the_end(
    start, broker, collected, eventually
):
    """A forked child does not have its thread, and a worker process ends without `atexit`."""
    worker = start()

    broker.enqueue(Message("low", "work", (7,), {}, {}))
    eventually(lambda: "working" in worker.text())
    assert worker.stop() == 0

    (inside_of, inside), (run_of, run) = collected
    assert (inside_of, run_of) == ("shop", "shop")
    assert (inside.name, run.name) == ("inside", "process work")
    assert inside.parent_span_id == run.span_id
    assert f'"trace": "{run.trace_id.hex()}"' in worker.text()


def test_the_span_of_a_job_that_is_given_up_is_sent_before_its_process_ends(
    start, broker, collected, eventually
):
    start()

    broker.enqueue(Message("low", "hang", (7,), {}, {}))

    eventually(lambda: collected)
    [(_, run)] = collected
    [outcome] = [one.value for one in run.attributes if one.key == "workshed.outcome"]
    assert outcome.string_value == "dead"


def test_nothing_is_imported_when_it_is_off(
    start_worker, run, environment, tmp_path, count, eventually
):
    (tmp_path / "parts.py").write_text(PLAIN)
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise SystemExit('it was loaded')")

    code, said = run("parts.py", **environment)
    worker = start_worker("parts")
    eventually(lambda: count("workshed.dead"))

    assert (code, said) == (0, "")
    assert worker.stop() == 0
    assert "it was loaded" not in worker.text()


def test_a_missing_package_is_named(run, environment, tmp_path):
    (tmp_path / "parts.py").write_text(PLAIN)
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError('no package')")

    code, said = run("parts.py", WORKSHED_TRACING="true", **environment)

    assert code == 1
    assert "OpenTelemetry is missing: pip install 'workshed[otel]'" in said
