"""The envelope: unreadable messages are refused, and all others come back exactly."""

import contextlib
import datetime as dt
import json
import math
import uuid

import dramatiq
import orjson
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workshed.transport.errors import EnvelopeError, InvalidArgumentError
from workshed.transport.messages.envelope import (
    StrictJson,
    decode_message,
    encode_message,
    find_unknown_option,
    message_properties,
    refuse_inexact_value,
)

GOOD = {
    "queue_name": "default",
    "actor_name": "greet",
    "args": [7],
    "kwargs": {"locale": "fr"},
    "options": {"attempt": 2, "generation": 3},
    "message_id": "a-1",
    "message_timestamp": 1_700_000_000_000,
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def envelope(**changes):
    return json.dumps({**GOOD, **changes}).encode()


def test_a_body_that_is_kept_takes_only_its_size():
    """A result of orjson keeps at least 4 KiB, and a page fault for each is most of its cost."""
    message = dramatiq.Message("default", "greet", (7,), {}, {})
    before = resident_bytes()

    kept = [encode_message(message) for _ in range(20_000)]

    assert resident_bytes() - before < 1_024 * len(kept)


def resident_bytes():
    return psutil.Process().memory_info().rss


@given(args=st.lists(json_values, max_size=4), kwargs=st.dictionaries(st.text(), json_values))
def test_a_message_comes_back_exactly(args, kwargs):
    message = dramatiq.Message("default", "greet", tuple(args), kwargs, {"attempt": 1})

    for value in [*args, *kwargs.values()]:
        refuse_inexact_value(value, "argument")
    body = StrictJson().encode(message.asdict())

    assert decode_message(body, "default") == message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (envelope(queue_name="emails"), "queue_name: is 'emails'"),
        (envelope(options=None), "options: must be a JSON dict"),
        (envelope(actor_name=[]), "actor_name: must be a JSON str"),
        (envelope(options={"max_retries": "5"}), "options.max_retries: must be a whole number"),
        (envelope(options={"broker_priority": 999}), "options.broker_priority"),
        (envelope(options={"attempt": True}), "options.attempt"),
        (envelope(options={"generation": -1}), "options.generation"),
        (envelope(options={"batch": "7"}), "options.batch: must be the id of a batch"),
        (envelope(options={"batch": "{" + str(uuid.UUID(int=7)) + "}"}), "options.batch"),
        (envelope(options={"callback_of": 7}), "options.callback_of: must be the id of a batch"),
        (envelope(options={"failures": 3}), "options.failures: must be an object of at most 64"),
        (envelope(options={"failures": {"OSError": 0}}), "options.failures: OSError must be a"),
        (envelope(options={"failures": {"OSError": [1]}}), "options.failures: OSError must be a"),
        (envelope(options={"failures": {"": 1}}), "options.failures: has a name of other than 1"),
        (envelope(options={"failures": {"x" * 101: 1}}), "options.failures: has a name of other"),
        (
            envelope(options={"failures": {str(n): 1 for n in range(65)}}),
            "options.failures: must be an object of at most 64",
        ),
        (envelope(options={"failing_since": {"*": -1}}), r"options.failing_since: \* must be a"),
        (envelope(options={"pipe_target": 1}), "options.pipe_target: .* not a JSON object"),
        (
            envelope(options={"pipe_target": {**GOOD, "surprise": 1}}),
            "options.pipe_target: .* surprise: unknown",
        ),
        (
            envelope(options={"pipe_target": {**GOOD, "options": {"max_age": 1}}}),
            "options.pipe_target: .* options.max_age: is not an option",
        ),
        (
            envelope(options={"pipe_target": {**GOOD, "args": ["x" * 65_536]}}),
            "options.pipe_target: has 65",
        ),
        (envelope(options={"pipe_ignore": 1}), "options.pipe_ignore: must be true or false"),
        (envelope(options={"max_age": 1}), "options.max_age: .*set expires="),
        (envelope(options={"tags": "a"}), "options.tags: must be a list of 1 to 10 tags"),
        (envelope(options={"tags": ["a", 7]}), "options.tags: has a tag that is not a string"),
        (envelope(options={"unique_key": 7}), "options.unique_key: must be a string"),
        (envelope(options={"unique_key": ""}), "options.unique_key: must have 1 to 1000 bytes"),
        (envelope(options={"unique_key": "a\0b"}), "options.unique_key: must have 1 to 1000 bytes"),
        (envelope(message_timestamp="now"), "message_timestamp"),
        (envelope(message_timestamp=-5), "message_timestamp"),
        (envelope(message_id=""), "message_id"),
        (envelope(actor_name="x" * 256), "actor_name"),
        (envelope(message_id="a\0b"), "message_id: must have 1 to 255 bytes and no NUL"),
        (envelope(actor_name="\0"), "actor_name: must have 1 to 255 bytes and no NUL"),
        (envelope(options={"parent": "\0"}), "options.parent: must have 1 to 255 bytes and no NUL"),
        (envelope(args={}), "args: must be a JSON list"),
        (envelope(surprise=1), "surprise: unknown"),
        (b'{"queue_name": "default"}', "actor_name: missing"),
    ],
)
def test_an_unreadable_message_is_refused_with_the_field(body, reason):
    with pytest.raises(EnvelopeError, match=reason.replace("[", r"\[")):
        decode_message(body, "default")


def test_an_option_of_a_later_release_is_kept_and_named():
    """A worker of that release must run the job with this option; see `Execution.stranger`."""
    message = decode_message(envelope(options={"etc": [1], "attempt": 2}), "default")

    assert message.options == {"etc": [1], "attempt": 2}
    assert find_unknown_option(message) == "etc"
    assert find_unknown_option(decode_message(envelope(), "default")) is None


@given(st.binary() | json_values.map(orjson.dumps))
def test_bytes_raise_nothing_but_envelope_errors(body):
    with pytest.raises(EnvelopeError):
        decode_message(body, "default")


@given(
    st.fixed_dictionaries(dict.fromkeys(GOOD, json_values), optional={"extra": json_values}).map(
        orjson.dumps
    )
)
def test_objects_raise_nothing_but_envelope_errors(body):
    with contextlib.suppress(EnvelopeError):
        decode_message(body, "default")


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        dt.date(2026, 1, 1),
        uuid.uuid4(),
        2**64,
        -(2**63) - 1,
        (1, 2),
        {1: "one"},
        {"deep": [{"er": b"bytes"}]},
        "\ud800",
        type("Sub", (str,), {})("x"),
    ],
)
def test_arguments_that_json_would_change_are_refused(value):
    with pytest.raises(InvalidArgumentError, match="argument when"):
        refuse_inexact_value(value, "argument when")


def test_the_properties_of_a_message_describe_it_for_people():
    message = dramatiq.Message("default", "greet", (7,), {}, {"attempt": 2, "broker_priority": 4})

    found = message_properties(message, outbox=True)

    assert (found.message_id, found.type) == (message.message_id, "greet")
    assert (found.timestamp, found.priority) == (message.message_timestamp // 1000, 4)
    assert found.headers == {"attempt": 2, "origin": "send", "outbox": True}
