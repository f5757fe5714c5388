"""The examples of docs/sentry-and-tracing.md, run as printed."""

import json

import pytest
from dramatiq import Message

from tests import pages

FILES = pages.files("docs/sentry-and-tracing.md")


@pytest.fixture(autouse=True)
def _project(tmp_path):
    """A folder with the files of the page."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)


def test_every_example_is_run_here():
    assert FILES.keys() == {"payments.py", "checkout.py", "in_threads.py"}


def test_a_charge_that_fails_is_reported_once_in_the_trace_of_its_checkout(
    start_worker, run, environment, sentry, count, eventually
):
    env = {"WORKSHED_SENTRY_DSN": sentry.dsn, "WORKSHED_SENTRY_TRACES": "0"}
    worker = start_worker("payments", env=env)

    code, said = run("checkout.py", SENTRY_DSN=sentry.dsn, **environment)
    assert code == 0, said
    eventually(lambda: count("workshed.dead"))
    assert worker.stop() == 0

    [event] = sentry.of("event")
    assert event["exception"]["values"][-1]["value"] == (
        "no answer for card [redacted] of amqp://shop:[redacted]@pay.example/"
    )
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["charging order 7"]
    sent = sentry.of("transaction")  # by two processes, in any order
    assert sorted(one["transaction"] for one in sent) == ["charge", "charge", "checkout"]
    traces = {one["contexts"]["trace"]["trace_id"] for one in (event, *sent)}
    assert len(traces) == 1
    assert b"4111-1111" not in sentry.received
    assert b"swordfish" not in sentry.received


def test_lines_of_threads_name_the_job_that_has_started_them(start_worker, broker, eventually):
    worker = start_worker("in_threads")

    message = broker.enqueue(Message("default", "fetch_all", ([1, 2],), {}, {}))
    eventually(lambda: worker.text().count("fetching") == 2)

    lines = [json.loads(line) for line in worker.text().splitlines() if "fetching" in line]
    assert [line["message_id"] for line in lines] == [message.message_id] * 2
