"""Log lines for machines and for people, from libraries too, each with its job."""

import json
import logging
from types import SimpleNamespace
from typing import ClassVar

import dramatiq
import pytest
import structlog
from dramatiq.brokers.stub import StubBroker

from tests.pages import block
from workshed import logs
from workshed.settings import settings

STRUCTLOG = block("docs/operating.md", "structlog")


class About:
    """A job of ours."""

    secrets = ()
    log_fields: ClassVar = {"message_id": "a-1"}


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


def test_a_machine_reads_one_json_object_per_line(configured):
    written = configured("json")

    logging.getLogger("dramatiq.worker").warning("took %d s", 3, extra={"queue": "default"})

    line = json.loads(written()[0])
    assert line["event"] == "took 3 s"
    assert (line["logger"], line["level"]) == ("dramatiq.worker", "warning")
    assert line["queue"] == "default"


def test_a_job_is_on_every_line_of_any_library(configured):
    written = configured("json")

    token = logs.log_subject.set(About())
    logging.getLogger("some.library").info("hello", extra={"actor": "greet"})
    logs.log_subject.reset(token)

    line = json.loads(written()[0])
    assert (line["message_id"], line["actor"]) == ("a-1", "greet")


@pytest.fixture
def with_structlog():
    """An application's `structlog`, configured as `docs/operating.md` says."""
    exec(STRUCTLOG, {})  # noqa: S102 -- it is ours
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.usefixtures("with_structlog")
def test_the_lines_of_structlog_have_the_fields_of_its_caller_and_of_its_context(configured):
    written = configured("json")

    structlog.contextvars.bind_contextvars(tenant="acme")
    structlog.get_logger("orders").info("paid %s", "all", order_id=7, name="Ada")

    line = json.loads(written()[0])
    assert (line["event"], line["logger"], line["level"]) == ("paid all", "orders", "info")
    assert (line["order_id"], line["name_"], line["tenant"]) == (7, "Ada", "acme")


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


def raised(error, cause=None):
    """Return an error as it is when it has been raised."""
    try:
        raise error from cause
    except type(error) as err:
        return err


def exception_in(line):
    return json.loads(line)["exception"]


def test_an_error_is_listed_with_what_led_to_it(configured):
    written = configured("json")

    failed = raised(OSError("away"), raised(KeyError("a")))
    failed.add_note("twice")
    logging.getLogger("x").error("failed", exc_info=failed)

    last, first = exception_in(written()[0])
    assert (last["exc_type"], last["exc_value"], last["exc_notes"]) == (
        "OSError",
        "away",
        ["twice"],
    )
    assert (first["exc_type"], first["is_cause"]) == ("KeyError", True)
    assert last["frames"][0]["name"] == "raised"


def test_an_error_without_a_text_is_still_reported(configured):
    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError

    written = configured("json")

    logging.getLogger("x").error("failed", exc_info=raised(MuteError()))

    assert exception_in(written()[0])[0]["exc_value"] == "<MuteError without a text>"


def test_each_error_of_a_group_is_listed(configured):
    written = configured("json")

    group = ExceptionGroup("two", [raised(OSError("a")), raised(ValueError("b"))])
    logging.getLogger("x").error("failed", exc_info=raised(group))

    [found] = exception_in(written()[0])
    assert [one["exc_value"] for [one] in found["exceptions"]] == ["a", "b"]


def test_errors_that_are_each_others_cause_end(configured):
    written = configured("json")
    one, other = OSError("a"), OSError("b")
    one.__cause__, other.__cause__ = other, one

    logging.getLogger("x").error("failed", exc_info=one)

    assert [found["exc_value"] for found in exception_in(written()[0])] == ["a", "b"]


def test_a_deep_traceback_keeps_both_ends(configured):
    def fall(depth):
        if depth:
            fall(depth - 1)
        else:
            raise OSError

    written = configured("json")

    try:
        fall(200)
    except OSError:
        logging.getLogger("x").exception("failed")

    frames = exception_in(written()[0])[0]["frames"]
    assert len(frames) == logs.MOST_FRAMES + 1
    assert frames[logs.MOST_FRAMES // 2]["name"] == "152 more"


def test_an_error_of_a_group_that_is_raised_because_of_the_group_ends(configured):
    written = configured("json")
    group = ExceptionGroup("two", [OSError("a"), ValueError("b")])

    try:
        try:
            raise group
        except ExceptionGroup as found:
            raise found.exceptions[0]  # noqa: B904 -- as anyio does
    except OSError:
        logging.getLogger("x").exception("failed")

    assert [one["exc_value"] for one in exception_in(written()[0])] == [
        "a",
        "two (2 sub-exceptions)",
    ]


def test_an_error_that_counts_as_false_is_reported(configured):
    class EmptyError(Exception):
        def __len__(self):
            return 0

    written = configured("json")

    def fail():
        raise EmptyError

    try:
        fail()
    except EmptyError:
        logging.getLogger("x").exception("failed")

    assert exception_in(written()[0])[0]["exc_type"] == "EmptyError"


def test_a_field_cannot_take_the_name_of_what_the_line_says(configured):
    written = configured("json")

    logging.getLogger("x").info("paid %s", 7, extra={"event": "order", "level": "low"})

    line = json.loads(written()[0])
    assert (line["event"], line["event_"]) == ("paid 7", "order")
    assert (line["level"], line["level_"]) == ("info", "low")


def test_a_value_cannot_look_like_another_line_or_field(configured, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    written = configured("console")

    fields = {"reason": "two words\nforged", "plain": "word", "both": "a=b"}
    logging.getLogger("x").info("hello", extra=fields)

    [line] = written()
    assert line.endswith(r"[x] both='a=b' plain=word reason='two words\nforged'")


def test_a_person_reads_the_traceback_below_the_line(configured, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    written = configured("console")

    logging.getLogger("x").error("failed", exc_info=raised(OSError("away")))

    line, *rest = written()
    assert "[error   ] failed" in line
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "OSError: away"


CYCLE: list[object] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [{1: 2}, {(1, 2): 3}, {3, 4}, b"\xff", object(), "\ud800", 1 << 80, float("nan"), CYCLE],
)
def test_any_value_of_a_field_has_a_line(value, configured):
    written = configured("json")

    logging.getLogger("x").info("hello", extra={"field": value})

    assert "field" in json.loads(written()[0])
