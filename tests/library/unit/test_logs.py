"""Log lines for machines and for people, from libraries too, each with its job."""

import json
import logging
from types import SimpleNamespace
from typing import ClassVar

import dramatiq
import pytest
import structlog
from dramatiq.brokers.stub import StubBroker

from workshed import logs
from workshed.settings import settings


@pytest.fixture
def configured(monkeypatch, capsys):
    """Configure logging for a format; returns what was written since."""
    root = logging.getLogger()
    before = root.handlers, root.level

    def configure(log_format):
        monkeypatch.setenv("WORKSHED_LOG_FORMAT", log_format)
        settings.cache_clear()
        logs.configure_logging()

        def written():
            return capsys.readouterr().err.splitlines()

        return written

    yield configure
    root.handlers, level = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_machine_reads_one_json_object_per_line(configured):
    written = configured("json")

    logging.getLogger("dramatiq.worker").warning("took %d s", 3, extra={"queue": "default"})

    line = json.loads(written()[0])
    assert line["event"] == "took 3 s"
    assert (line["logger"], line["level"]) == ("dramatiq.worker", "warning")
    assert line["queue"] == "default"


def test_a_job_is_on_every_line_of_any_library(configured):
    written = configured("json")

    structlog.contextvars.bind_contextvars(job_id="a-1", actor="greet")
    logging.getLogger("some.library").info("hello")

    assert json.loads(written()[0])["job_id"] == "a-1"


def test_a_traceback_shows_no_values(configured):
    written = configured("json")

    def fail(password):
        raise ValueError("no")

    try:
        fail("s3cret")
    except ValueError:
        logging.getLogger("x").exception("failed")

    line = written()[0]
    assert json.loads(line)["exception"][0]["exc_type"] == "ValueError"
    assert "s3cret" not in line


def test_a_person_reads_words(configured):
    written = configured("console")

    logging.getLogger("pika").critical("gone")

    line = written()[0]
    assert "gone" in line
    assert not line.startswith("{")


def test_colours_are_for_people_who_want_them(configured, monkeypatch):
    written = configured("console")
    logging.getLogger("x").warning("gone")
    assert "\x1b[" in written()[0]

    monkeypatch.setenv("NO_COLOR", "1")
    written = configured("console")
    logging.getLogger("x").warning("gone")

    assert "\x1b" not in written()[0]


def test_without_a_terminal_lines_are_for_machines(configured, monkeypatch):
    monkeypatch.setattr("os.isatty", lambda _fd: False)
    written = configured("auto")

    logging.getLogger("x").info("hello")

    assert json.loads(written()[0])["event"] == "hello"


@pytest.fixture
def work():
    """`work()`: run a failing job in a worker of dramatiq's own broker in this process."""
    broker = StubBroker(middleware=[])

    @dramatiq.actor(broker=broker)
    def fail():
        raise OSError("away")

    def run():
        worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=1)
        worker.start()
        fail.send()
        broker.join("default", fail_fast=False)
        worker.stop()

    return run


def test_jobs_of_another_broker_in_the_process_are_still_reported(configured, work):
    """Nothing else says why they failed, because only outcomes of our own jobs are logged."""
    written = configured("json")

    work()

    [line] = [found for line in written() if "exception" in (found := json.loads(line))]
    assert line["event"] == "Failed to process message fail() with unhandled exception."


class About:
    """A job of ours."""

    secrets = ()
    log_fields: ClassVar = {"job_id": "a-1"}


def test_what_dramatiq_says_about_our_jobs_is_dropped(configured):
    written = configured("json")
    about = About()
    worker, failed = logging.getLogger("dramatiq.worker.WorkerThread"), SimpleNamespace(job=about)

    token = logs.log_subject.set(about)
    worker.error("Failed to process message %s with unhandled exception.", failed)
    worker.info("Failed to process message %s with expected exception %s.", failed, "OSError")
    worker.error("something else of %s", "it")
    logs.log_subject.reset(token)

    assert [json.loads(line)["event"] for line in written()] == ["something else of it"]
