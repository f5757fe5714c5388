"""The log of a real worker: each line about a job names it, and none has its secrets."""

import json

import pytest
from dramatiq import Message

from workshed import db
from workshed.jobs.control import cancellations
from workshed.jobs.idempotency import completed_generations

ACTORS = """
import contextvars, logging, os, threading, time
from datetime import timedelta
import dramatiq
from workshed import broker, db
from workshed.duration import ms
from workshed.jobs import Discard, Snooze

logging.getLogger("psycopg").setLevel("DEBUG")
SOON = {"min_backoff": 0, "max_backoff": 0}

class Talks(dramatiq.Middleware):
    def after_process_message(self, broker, message, *, result=None, exception=None):
        logging.getLogger("talks").info("after %s", message.message_id)

broker.add_middleware(Talks())

@dramatiq.actor(broker=broker, queue_name="low", max_retries=1, **SOON)
def fail(number):
    logging.getLogger("some.library").info("in a library")
    with db.transaction() as conn:
        conn.execute("SELECT 1")
    copied = contextvars.copy_context()
    other = threading.Thread(target=copied.run, args=(logging.getLogger("x").info, "in a thread"))
    other.start()
    other.join()
    raise OSError("away")

@dramatiq.actor(broker=broker, queue_name="low")
def work(number):
    return number  # dramatiq warns that nothing stores the result

@dramatiq.actor(broker=broker, queue_name="low")
def leave_out(number):
    raise Discard("paid already")

@dramatiq.actor(broker=broker, queue_name="low")
def wait(number):
    raise Snooze(timedelta(hours=1))

@dramatiq.actor(broker=broker, queue_name="low", max_retries=0, redact=["pin", "key"])
def unlock(door, pin, key):
    logging.getLogger("unlock").info("trying %s", key)
    logging.getLogger("unlock").info("trying", extra={"tried": [key], "with": {"key": key}})
    raise ValueError(f"no such key: {key!r}") from KeyError(key)

@dramatiq.actor(
    broker=broker, queue_name="low", time_limit=ms(seconds=0.1), hard_time_limit=400, max_retries=0
)
def hang(number):
    time.sleep(600)

@dramatiq.actor(broker=broker, queue_name="low", time_limit=600_000)
def sleep(number):
    logging.getLogger("sleep").info("sleeping")
    time.sleep(600)
"""
OF_OTHER_THREADS = ("psycopg", "dramatiq.worker.ConsumerThread")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def start(start_worker, tmp_path):
    """`start(**settings)`: a worker that logs everything as lines of JSON."""
    (tmp_path / "parts.py").write_text(ACTORS)

    def start(**settings):
        env = {"WORKSHED_LOG_FORMAT": "json", "WORKSHED_LOG_LEVEL": "DEBUG", **settings}
        return start_worker("parts", threads=1, env=env)

    return start


def lines(worker):
    """The log lines in JSON."""
    return [json.loads(line) for line in worker.text().splitlines() if line.startswith("{")]


def said(worker, message):
    """Return the log lines about a job."""
    return [line for line in lines(worker) if line.get("message_id") == message.message_id]


def sent(broker, actor, *args, **options):
    return broker.enqueue(Message("low", actor, args, {}, options))


def test_each_line_of_a_job_names_it_including_those_of_libraries(start, broker, eventually):
    worker = start()
    trace = {"sentry-trace": f"{TRACE}-00f067aa0ba902b7"}

    message = sent(broker, "fail", 7, trace=trace)
    last = f"after {message.message_id}"
    eventually(lambda: worker.text().count(last) == 2)  # else the lines of its end come in between
    assert worker.stop() == 0

    for attempt in (1, 2):
        found = [line for line in said(worker, message) if line["attempt"] == attempt]
        events = [line["event"] for line in found]
        expected = [
            "in a library",
            "in a thread",
            "failed; next attempt in 0ms: OSError: away" if attempt == 1 else
            "dead: failed 2 times: OSError: away",
            last,
        ]  # fmt: skip
        assert [event for event in events if event in expected] == expected, events
        [failure] = [line for line in found if "exception" in line]
        assert failure["event"] == expected[2]
        assert failure["level"] == ("warning" if attempt == 1 else "error")
        all_lines = lines(worker)
        between = all_lines[all_lines.index(found[0]) : all_lines.index(found[-1]) + 1]
        nameless = [line["logger"] for line in between if "message_id" not in line]
        assert not [name for name in nameless if not name.startswith(OF_OTHER_THREADS)]
        assert "psycopg.pool" in {line["logger"] for line in found}
        for line in found:
            assert (line["actor"], line["queue"], line["trace"]) == ("fail", "low", TRACE)


def cancelled(broker, message):
    with db.transaction() as conn:
        cancellations.cancel(conn, message.message_id)
    broker.enqueue(message)


def absorbed(broker, message):
    with db.transaction() as conn:
        completed_generations.complete_generation(conn, message.message_id, 0)
    broker.enqueue(message, delay=1)  # a message of a relay may be a copy


def plain(broker, message):
    broker.enqueue(message)


@pytest.mark.parametrize(
    ("actor", "send", "event"),
    [
        ("work", cancelled, "cancelled: cancelled"),
        ("work", absorbed, "duplicate: "),
        ("leave_out", plain, "discarded: paid already"),
        ("wait", plain, "again in 1h: "),
        ("stranger", plain, "again in 2s: no actor 'stranger' is known to this worker"),
    ],
)
def test_the_line_of_its_outcome_names_a_job_even_if_it_did_not_run(
    actor, send, event, start, broker, eventually
):
    """A job that is cancelled or unknown ends before any hook; its line would name no job."""
    message = Message("low", actor, (7,), {}, {})
    send(broker, message)

    worker = start()
    eventually(lambda: event in worker.text())
    assert worker.stop() == 0

    [line] = [line for line in lines(worker) if line["event"].startswith(event)]
    assert (
        line.items() >= {"message_id": message.message_id, "actor": actor, "queue": "low"}.items()
    )
    skipped = [line for line in lines(worker) if line["event"].endswith("was skipped.")]
    assert all("message_id" in line for line in skipped)


def test_lines_of_other_threads_about_a_job_that_does_not_end_name_it(start, broker, eventually):
    """Without `bind_temporarily` they would name no job, because the job's own thread is in a "
    "call into C."""
    worker = start()

    message = sent(broker, "hang", 7)
    eventually(lambda: worker.process.poll() is not None)

    events = [line["event"] for line in said(worker, message)]
    assert "hang(7) exceeded its hard limit of 0.4 s; exiting with code 71" in events
    assert any(event.startswith("dead: ") for event in events), events


def test_the_line_of_a_job_that_is_cut_off_names_it(start, broker, eventually):
    worker = start(WORKSHED_SHUTDOWN_GRACE="0")
    message = sent(broker, "sleep", 7)
    eventually(lambda: "sleeping" in worker.text())

    worker.stop()

    events = [line["event"] for line in said(worker, message)]
    assert "again in 0ms: interrupted by a shutdown" in events


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_line_shows_what_an_actor_hides(log_format, start, broker, count, eventually):
    """dramatiq logs all arguments before a job starts and when it fails; so does its error."""
    key = "-----BEGIN\n\u00e9t\u00e9 'x\\y'"
    worker = start(WORKSHED_LOG_FORMAT=log_format)

    broker.enqueue(Message("low", "unlock", (1, "987"), {"key": key}, {}))
    eventually(lambda: count("workshed.dead"))
    assert worker.stop() == 0

    text = worker.text()
    for secret in ("BEGIN", "\\ny", "9t\\u00e9", "x\\\\y", "'987'", '"987"'):
        assert secret not in text
    assert "trying [redacted]" in text
    assert "Received message unlock(door=1, pin='[redacted]', key='[redacted]')" in text
    assert "dead: failed once: ValueError: no such key: " in text
    assert ('"exc_value": "no such key: ' if log_format == "json" else "Traceback") in text
