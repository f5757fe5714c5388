"""The message as it travels: a readable JSON object, decoded strictly."""

from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

import dramatiq
import orjson
from dramatiq.encoder import Encoder, JSONEncoder

from workshed import strict_json
from workshed.jobs import tags, traces
from workshed.middleware.options.retry_on import LONGEST_KEY as LONGEST_GROUP
from workshed.middleware.options.retry_on import MOST_GROUPS
from workshed.middleware.runtime.unsupported_options import MESSAGE_OPTION_HINTS
from workshed.strict_json import INTEGER_TYPES
from workshed.transport.amqp.codec import MessageProperties
from workshed.transport.arguments.versions import FIRST_VERSION, VERSION
from workshed.transport.errors import (
    EnvelopeError,
    InvalidArgumentError,
    PublishRefusedError,
    RefusedEncoderError,
)

LARGEST_NUMBER = 2**31 - 1
LATEST_MS = 253_402_300_799_999  # the year 9999
LONGEST_NAME = 255  # bytes, what AMQP's `message_id` and `type` can hold
NUL = "\0"  # which no text of PostgreSQL can hold
LONGEST_KEY = 1_000  # bytes; an index of PostgreSQL holds no more than 2704
DELAY = "delay"
"""Option of a nested message: how many ms after the previous message it is sent."""
LARGEST_BODY_BYTES = 1 << 20  # one message beyond RabbitMQ's limit closes the channel of all
LARGEST_ARGUMENTS_BYTES = 64 << 10
FIELDS = {
    "queue_name": str,
    "actor_name": str,
    "args": list,
    "kwargs": dict,
    "options": dict,
    "message_id": str,
    "message_timestamp": int,
}
FIELD_NAMES, FIELD_TYPES = list(FIELDS), list(FIELDS.values())


class StrictJson(Encoder):
    """dramatiq's encoder: plain JSON, by orjson."""

    def encode(self, data: dict[str, Any]) -> bytes:
        """Write the fields of a message."""
        return orjson.dumps(data)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Read them back."""
        fields: dict[str, Any] = orjson.loads(data)
        return fields


PLAIN_ENCODERS = (StrictJson, JSONEncoder)
"""Encoders whose output this module reads."""


def encode_message(message: dramatiq.Message[Any]) -> bytes:
    """Encode a message as plain JSON, whatever encoder is set."""
    # orjson reads its fields, without a dict in between. Its result keeps the memory that orjson
    # has written it in, at least 4 KiB; the copy has its own size.
    return bytes(memoryview(orjson.dumps(message)))


def refuse_foreign_encoder(message: dramatiq.Message[Any]) -> None:
    """Raise `RefusedEncoderError` if the application's encoder does not write plain JSON.

    SQL, the console and other releases read messages, too, without that encoder.
    """
    encoder = dramatiq.get_encoder()
    if type(encoder) in PLAIN_ENCODERS:
        return
    try:
        is_same = orjson.loads(message.encode()) == orjson.loads(encode_message(message))
    except Exception as err:
        raise RefusedEncoderError(encoder) from err
    if not is_same:
        raise RefusedEncoderError(encoder)


def _number(low: int, high: int = LARGEST_NUMBER) -> Callable[[Any], str | None]:
    """Make a check for a whole number within bounds."""

    def check(value: Any) -> str | None:
        if type(value) in INTEGER_TYPES and low <= value <= high:
            return None
        return f"must be a whole number from {low} to {high}, not {value!r:.50}"

    return check


_timestamp = _number(0, LATEST_MS)
_delay = _number(0)


def _string(value: object) -> str | None:
    return None if isinstance(value, str) else f"must be a string, not {value!r:.50}"


def _key(value: object) -> str | None:
    if problem := _string(value):
        return problem
    try:
        size = len(str(value).encode())
    except UnicodeEncodeError:
        return f"is not valid Unicode: {value!r:.50}"
    if not 0 < size <= LONGEST_KEY or NUL in str(value):
        return f"must have 1 to {LONGEST_KEY} bytes and no NUL, not {value!r:.50}"
    return None


def _id(value: object) -> str | None:
    if not isinstance(value, str):
        return _string(value)
    size = len(value) if value.isascii() else len(value.encode(errors="replace"))
    if not 0 < size <= LONGEST_NAME or NUL in value:
        return f"must have 1 to {LONGEST_NAME} bytes and no NUL, not {value!r:.50}"
    return None


def _uuid(value: object) -> str | None:
    try:
        known = isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        known = False
    return None if known else f"must be the id of a batch, not {value!r:.50}"


def _one_of(*words: str) -> Callable[[Any], str | None]:
    """Make a check for one of several words."""

    def check(value: object) -> str | None:
        return None if value in words else f"must be one of {', '.join(words)}, not {value!r:.50}"

    return check


def _counts(most: int) -> Callable[[Any], str | None]:
    """Make a check for an object of whole numbers by group of errors."""
    number = _number(1, most)

    def check(value: object) -> str | None:
        if not isinstance(value, dict) or len(value) > MOST_GROUPS:
            return f"must be an object of at most {MOST_GROUPS} numbers, not {value!r:.50}"
        for name, count in value.items():
            if (
                not isinstance(name, str)
                or not 0 < len(name.encode(errors="replace")) <= LONGEST_GROUP
            ):
                return f"has a name of other than 1 to {LONGEST_GROUP} bytes: {name!r:.50}"
            if problem := number(count):
                return f"{name} {problem}"
        return None

    return check


def _true(value: object) -> str | None:
    return None if value is True else f"must be true, not {value!r:.50}"


def _bool(value: object) -> str | None:
    return None if isinstance(value, bool) else f"must be true or false, not {value!r:.50}"


def _message(value: Any, added: Collection[str] = (), *, later: bool = False) -> str | None:
    """Check a nested message as if it were sent now."""
    try:
        body = orjson.dumps(value)
        if len(body) > LARGEST_ARGUMENTS_BYTES:
            return f"has {len(body)} bytes, at most {LARGEST_ARGUMENTS_BYTES} are sent"
        # As it will be read: a tuple of arguments becomes a list.
        _check_object(orjson.loads(body), added, later=later, follows=True)
        refuse_inexact_value(list(value["args"]), "args")
        refuse_inexact_value(value["kwargs"], "kwargs")
    except (orjson.JSONEncodeError, EnvelopeError, InvalidArgumentError) as err:
        return f"must be a message that can be sent: {err}"
    return None


def _messages(value: Any, added: Collection[str] = (), *, later: bool = False) -> str | None:
    """Check the messages that follow a group."""
    if not isinstance(value, list):
        return f"must be a list of messages, not {value!r:.50}"
    problems = (_message(message, added, later=later) for message in value)
    return next(filter(None, problems), None)


def _added_option(value: Any) -> str | None:
    """Check the value of an option that an application's middleware added."""
    if problem := strict_json.find_inexact(value, "its value"):
        return f"cannot be sent: {problem}"
    size = len(orjson.dumps(value))
    if size > LARGEST_ARGUMENTS_BYTES:
        return f"has {size} bytes, at most {LARGEST_ARGUMENTS_BYTES} are sent"
    return None


# Every option of a message, with its range. `send` and deliveries refuse other options by name,
# because a job whose misspelt option is silently ignored runs with the wrong settings.
OPTIONS: dict[str, Callable[[Any], str | None]] = {
    "attempt": _number(1),  # of this run, from 1; a run that costs no attempt does not raise it
    "failures": _counts(LARGEST_NUMBER),  # how many runs failed, by group of errors
    "failing_since": _counts(LATEST_MS),  # the first of them, Unix ms, if retries have a time span
    "generation": _number(0),  # how often it was put back into the queue
    "record_missing_since": _number(0, LATEST_MS),  # when its record was first missing, Unix ms
    "unknown_actor_since": _number(
        0, LATEST_MS
    ),  # first received by a worker without its actor, Unix ms
    "origin": _string,  # `transaction` if it was stored with the sender's own data
    "pipe_target": _message,  # the message that is sent with its result when it succeeds
    "group_completion_uuid": _id,  # the group in which its success counts
    "group_completion_callbacks": _messages,  # what is sent after the last success of the group
    "store_results": _bool,  # whether its result is stored
    "result_ttl": _number(1),  # for how many ms
    "awaited": _true,  # for as long, store that it has ended, without its result
    "pipe_ignore": _bool,  # whether it is sent without the result of the previous message
    "due": _number(0, LATEST_MS),  # when a delayed message is due, Unix ms
    "expires": _number(1, LATEST_MS),  # how long after that, or after the send, it may start
    "scheduled_for": _number(0, LATEST_MS),  # of a periodic job: the time it is for, Unix ms
    "redriven": _number(0, LATEST_MS),  # when it was redriven, Unix ms
    "batch": _uuid,  # the batch it is in
    "callback_of": _uuid,  # the batch whose callback it is
    "parent": _id,  # the message ID of the job that sent it
    "trace": traces.headers_problem,  # headers of the trace it was sent in
    "tags": tags.tags_problem,  # what it can be cancelled by, in addition to its actor and queue
    "unique_key": _key,  # only one job with this key is alive at a time
    "unique_for": _number(1),  # ms after which the key is free in any case
    "on_conflict": _one_of("log", "raise", "replace", "reschedule"),  # if another job has the key
    "awaiting_unique_key": _true,  # another job had it at the send, so it is taken at the start
    "broker_priority": _number(0, 255),
    "max_retries": _number(0),
    VERSION: _number(FIRST_VERSION),  # of its arguments, if they have had an upgrade
    "min_backoff": _number(0),
    "max_backoff": _number(0),
    "time_limit": _number(1),
}


NESTED_OPTIONS: dict[str, Callable[..., str | None]] = {
    "pipe_target": _message,
    "group_completion_callbacks": _messages,
}
"""Options that contain messages, whose own options are checked too."""


def find_option_problem(
    name: str, value: object, added: Collection[str] = (), *, later: bool = False
) -> str | None:
    """Return what is wrong with an option; `None` if nothing is.

    `added` are options of an application's middleware. If the message may be from a newer release
    (`later`), unknown options of nested messages are accepted.
    """
    if name in NESTED_OPTIONS:
        return NESTED_OPTIONS[name](value, added, later=later)
    if name in OPTIONS:
        return OPTIONS[name](value)
    if instead := MESSAGE_OPTION_HINTS.get(name):
        return f"is not an option of a message: {instead}"
    if name in added:
        return _added_option(value)
    return "is not an option of a message"


def decode_message(body: bytes, queue: str) -> dramatiq.Message[Any]:
    """Decode a delivered body strictly.

    Raises `EnvelopeError` with the field and the reason. A message that passes can neither kill a
    worker thread nor restart a consumer. It may have options of a later release, with which it must
    not run here: see `find_unknown_option`.
    """
    if len(body) > LARGEST_BODY_BYTES:
        raise EnvelopeError(f"body: {len(body)} bytes, at most {LARGEST_BODY_BYTES} are read")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise EnvelopeError(f"not JSON: {err}") from None
    _check_object(fields, later=True)
    if fields["queue_name"] != queue:
        raise EnvelopeError(
            f"queue_name: is {fields['queue_name']!r}, but the message came through {queue!r}"
        )
    fields["args"] = tuple(fields["args"])
    return dramatiq.Message(**fields)


def find_unknown_option(message: dramatiq.Message[Any], added: Collection[str] = ()) -> str | None:
    """Return the name of an option that a worker with these `added` ones does not know, if any.

    Also looks at the messages that follow it, because one with an unknown option would be dead once
    it has received the result.
    """
    return _find_unknown(message.options, added)


def _find_unknown(options: dict[str, Any], added: Collection[str]) -> str | None:
    if not options.keys() <= OPTIONS.keys():
        names = options.keys() - OPTIONS.keys() - set(added)
        if names:
            return min(names)
    if "group_completion_callbacks" not in options and "pipe_target" not in options:
        return None
    following = [*options.get("group_completion_callbacks", ())]
    if "pipe_target" in options:
        following.append(options["pipe_target"])
    of_following = (*added, DELAY)
    found = (_find_unknown(message["options"], of_following) for message in following)
    return next(filter(None, found), None)


def _check_object(
    fields: object, added: Collection[str] = (), *, later: bool = False, follows: bool = False
) -> None:
    """Raise `EnvelopeError` for wrong fields or options; `later` accepts unknown options.

    A message that `follows` another may have a delay.
    """
    if not isinstance(fields, dict):
        raise EnvelopeError("not a JSON object")
    _check_fields(fields)
    for name, value in fields["options"].items():
        if later and name not in OPTIONS and name not in MESSAGE_OPTION_HINTS:
            continue
        if follows and name == DELAY:
            problem = _delay(value)
        else:
            problem = find_option_problem(name, value, added, later=later)
        if problem:
            raise EnvelopeError(f"options.{name}: {problem}")


def _check_fields(fields: dict[str, Any]) -> None:
    """Raise `EnvelopeError` unless these are a message's fields, each with its type and range."""
    if list(fields) != FIELD_NAMES or list(map(type, fields.values())) != FIELD_TYPES:
        _refuse_wrong_fields(fields)
    if problem := _timestamp(fields["message_timestamp"]):
        raise EnvelopeError(f"message_timestamp: {problem}")
    for name in ("message_id", "actor_name"):
        if not 0 < len(fields[name].encode()) <= LONGEST_NAME or NUL in fields[name]:
            raise EnvelopeError(f"{name}: must have 1 to {LONGEST_NAME} bytes and no NUL")


def _refuse_wrong_fields(fields: dict[str, Any]) -> None:
    """Raise `EnvelopeError` for missing, unknown or mistyped fields; any order is accepted."""
    if fields.keys() != FIELDS.keys():
        name = min(fields.keys() ^ FIELDS.keys())
        raise EnvelopeError(f"{name}: {'unknown' if name in fields else 'missing'}")
    for name, kind in FIELDS.items():
        if type(fields[name]) is not kind:
            raise EnvelopeError(f"{name}: must be a JSON {kind.__name__}, not {fields[name]!r:.50}")


def message_properties(message: dramatiq.Message[Any], **headers: Any) -> MessageProperties:
    """Return the AMQP properties of a message, which RabbitMQ's management UI shows."""
    options = message.options
    return MessageProperties(
        message.message_id,
        message.actor_name,
        message.message_timestamp // 1000,
        # Always set: from RabbitMQ 4.3 on, a quorum queue treats a missing priority as 4.
        options.get("broker_priority", 0),
        {
            "attempt": options.get("attempt", 1),
            "origin": options.get("origin", "send"),
            **headers,
        },
    )


def refuse_inexact_value(value: object, path: str) -> None:
    """Raise `InvalidArgumentError` for a value that JSON would change."""
    if problem := strict_json.find_inexact(value, path):
        raise InvalidArgumentError(f"{problem}; pass an id, a string or a number")


def refuse_large_arguments(message: dramatiq.Message[Any]) -> None:
    """Raise `PublishRefusedError` for arguments that are too large for a message."""
    size = len(orjson.dumps([message.args, message.kwargs]))
    if size > LARGEST_ARGUMENTS_BYTES:
        raise PublishRefusedError(
            f"{message.actor_name}: {size} bytes of arguments, at most {LARGEST_ARGUMENTS_BYTES} "
            "are sent; store the data and send its id"
        )


def refuse_invalid_fields(message: dramatiq.Message[Any]) -> None:
    """Raise `PublishRefusedError` for an ID, a name or a time that no worker would accept.

    dramatiq's own are valid; those of other senders or libraries may not be.
    """
    if problem := _timestamp(message.message_timestamp):
        raise PublishRefusedError(f"{message.actor_name}: message_timestamp {problem}")
    for name, text in (("message_id", message.message_id), ("actor_name", message.actor_name)):
        if problem := _id(text):
            raise PublishRefusedError(f"{message.actor_name}: {name} {problem}")
