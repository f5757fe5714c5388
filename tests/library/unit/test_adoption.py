"""What a message of dramatiq is here."""

import json
import math
from datetime import UTC, datetime

import pytest
from dramatiq import Message
from dramatiq.message import Message as StockMessage

from workshed.console.adoption.storage import read_traceback
from workshed.console.adoption.translation import translate
from workshed.jobs.history.attempts import ErrorTexts
from workshed.transport.errors import EnvelopeError
from workshed.transport.messages.envelope import LARGEST_NUMBER, LATEST_MS, refuse_invalid_fields

SENT_MS = 1_800_000_000_000
CLAMPED = {"max_backoff": LARGEST_NUMBER, "time_limit": LARGEST_NUMBER}
FAILED_ONCE = {"attempt": 2, "expires": 60_000}
"""Here the time counts from its send, as there: a retry has no due time of its own."""
PIPED = {
    "queue_name": "low",
    "actor_name": "next",
    "args": [],
    "kwargs": {},
    "options": {"pipe_ignore": True, "max_age": 5_000, "retries": 1, "delay": 1.5},
    "message_id": "2",
    "message_timestamp": SENT_MS + 0.5,
}


def body(**changed):
    """Return the body of a message as dramatiq writes it."""
    message = StockMessage("default", "make", (7,), {"a": "é"}, {}, "1", SENT_MS)
    fields = json.loads(message.encode())
    return json.dumps({**fields, **changed}).encode()


def options_of(actors=None, **options):
    """Return the options here of a message that has these there."""
    return translate(body(options=options), "default", actors or {}).message.options


def test_a_plain_message_is_the_same():
    job = translate(body(), "default", {})

    assert job.message == Message("default", "make", (7,), {"a": "é"}, {}, "1", SENT_MS)
    assert (job.due_at, job.attempt, job.reason) == (None, 1, "transactional")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"retries": 2, "traceback": "…", "requeue_timestamp": 5}, {"attempt": 3}),
        ({"retries": 0, "redis_message_id": "x"}, {}),
        ({"max_retries": None}, {"max_retries": LARGEST_NUMBER}),
        ({"max_retries": 5, "min_backoff": 10}, {"max_retries": 5, "min_backoff": 10}),
        ({"notify_shutdown": True, "time_limit": 0, "pipe_target": None}, {}),
        ({"notify_shutdown": False, "time_limit": 1_500.0}, {"time_limit": 1_500}),
        ({"_sentry_headers": {"x": 1}, "scheduled_at": "2026-11-30", "delay": 500}, {}),
        ({"max_backoff": 10**20, "time_limit": math.inf}, CLAMPED),
        ({"max_age": 1e30}, {"expires": LATEST_MS}),
        ({"max_age": 60_000}, {"expires": 60_000}),
        ({"max_age": 60_000, "eta": SENT_MS + 50_000, "retries": 1}, FAILED_ONCE),
        ({"max_age": 60_000.0, "eta": SENT_MS + 50_000}, {"expires": 10_000}),
        ({"max_age": 60_000, "eta": SENT_MS + 70_000}, {"expires": 1}),
        ({"max_age": 0, "on_success": None}, {}),
        ({"store_results": True, "result_ttl": 5}, {"store_results": True, "result_ttl": 5}),
        ({"group_completion_uuid": None, "group_completion_callbacks": []}, {}),
    ],
)
def test_options_have_the_same_meaning(options, expected):
    assert options_of(**options) == expected


def test_a_callback_that_the_actor_has_is_left_to_it():
    assert options_of({"make": {"on_success": "report"}}, on_success="report") == {}
    with pytest.raises(EnvelopeError, match=r"options\.on_failure: is not an option of a message"):
        options_of({"make": {"on_success": "report"}}, on_failure="report")


def test_later_steps_of_a_pipeline_are_translated_too():
    piped = options_of(pipe_target=PIPED)["pipe_target"]

    assert piped["options"] == {"pipe_ignore": True, "expires": 5_000, "delay": 1}
    assert piped["message_timestamp"] == SENT_MS


def test_a_delayed_one_is_due_at_its_time_and_a_failed_one_is_a_retry():
    delayed = translate(
        body(options={"eta": SENT_MS + 250}, queue_name="default.DQ"), "default", {}
    )
    failed = translate(body(options={"eta": SENT_MS, "retries": 1}), "default", {})

    assert delayed.due_at == datetime.fromtimestamp(SENT_MS / 1000 + 0.25, UTC)
    assert (delayed.reason, delayed.message.queue_name) == ("delayed", "default")
    assert (failed.reason, failed.attempt) == ("retry", 2)


def test_a_timestamp_with_a_fraction_is_rounded_down():
    job = translate(body(message_timestamp=SENT_MS + 0.9), "default", {})

    assert job.message.message_timestamp == SENT_MS
    refuse_invalid_fields(job.message)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"group_completion_uuid": "5"}, "only dramatiq's workers count the jobs of its group"),
        ({"eta": "soon"}, "eta: must be a number from 0"),
        ({"retries": -1}, "retries: must be a number from 0"),
        ({"retries": True}, "retries: must"),
        ({"max_age": "old"}, "options.max_age: must be a number"),
        ({"max_age": math.nan}, "options.max_age: must be a number"),
        ({"time_limit": math.nan}, "does not survive JSON exactly"),
        ({"time_limit": -1}, "options.time_limit: must be a whole number from 1"),
        ({"pipe_target": {"options": {}}}, "message_timestamp: missing"),
        ({"pipe_target": 5}, "options.pipe_target: must be a message"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(options, reason):
    with pytest.raises(EnvelopeError, match=reason):
        options_of(**options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, (None, None)),
        ("", (None, None)),
        ("Traceback …\n  File x\n    raise\nKeyError: 'a'", ("KeyError", "'a'")),
        ("Traceback …\n  File x\nshop.errors.Late: a\nb: c", ("Late", "a\nb: c")),
        ("Traceback …\n  File x\nMemoryError", ("MemoryError", "MemoryError")),
    ],
)
def test_a_traceback_says_which_error_it_was(text, expected):
    found = read_traceback(text)

    assert found == ErrorTexts(*expected, text or None)


@pytest.mark.parametrize("value", [math.nan, math.inf, 123456789012345678901, "\ud800", [[2**64]]])
def test_an_argument_that_would_change_is_refused(value):
    """dramatiq sends it; here its job would get another value."""
    with pytest.raises(EnvelopeError, match=r"message\['args'\]\[0\].*(exactly|Unicode)"):
        translate(body(args=[value]), "default", {})


def test_a_traceback_can_be_stored():
    found = read_traceback("Traceback\n  x\nshop." + "E" * 300 + ": \0" + "x" * 99_999)

    assert "\0" not in found.error
    assert (len(found.error_class), len(found.error), len(found.traceback)) == (200, 2_000, 20_000)
