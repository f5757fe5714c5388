"""The message as it travels: a JSON object people can read, decoded strictly."""

import math
from collections.abc import Callable
from typing import Any

import dramatiq
import orjson
import pika
from dramatiq.encoder import Encoder

from brokers.errors import EnvelopeError, PublishRefusedError, RefusedArgumentError
from workshed.jobs import tags

EXACT_INTEGERS = range(-(2**63), 2**64)
LARGEST_NUMBER = 2**31 - 1
LATEST_MS = 253_402_300_799_999  # the year 9999
LONGEST_NAME = 255  # bytes, what AMQP's `message_id` and `type` can hold
LONGEST_KEY = 1_000  # bytes; an index of PostgreSQL holds no more than 2704
LARGEST_BODY_BYTES = 1 << 20  # one message beyond RabbitMQ's limit closes the channel of all
LARGEST_ARGUMENTS_BYTES = 64 << 10
FIELDS = {
    "actor_name": str,
    "queue_name": str,
    "message_id": str,
    "message_timestamp": int,
    "args": list,
    "kwargs": dict,
    "options": dict,
}


class StrictJson(Encoder):
    """dramatiq's encoder: plain JSON, by orjson."""

    def encode(self, data: dict[str, Any]) -> bytes:
        """Write the fields of a message."""
        return orjson.dumps(data)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Read them back."""
        fields: dict[str, Any] = orjson.loads(data)
        return fields


def _number(low: int, high: int = LARGEST_NUMBER) -> Callable[[Any], str | None]:
    """Make a check for a whole number within bounds."""

    def check(value: object) -> str | None:
        if type(value) is int and low <= value <= high:
            return None
        return f"must be a whole number from {low} to {high}, not {value!r:.50}"

    return check


def _word(value: object) -> str | None:
    return None if isinstance(value, str) else f"must be a string, not {value!r:.50}"


def _key(value: object) -> str | None:
    if problem := _word(value):
        return problem
    try:
        size = len(str(value).encode())
    except UnicodeEncodeError:
        return f"is not valid Unicode: {value!r:.50}"
    if not 0 < size <= LONGEST_KEY or "\0" in str(value):
        return f"must have 1 to {LONGEST_KEY} bytes and no NUL, not {value!r:.50}"
    return None


# Every option a message may carry, with its range. What is not here is refused by name, in `send`
# and on delivery: a misspelt option that is silently ignored is a job that runs otherwise.
OPTIONS: dict[str, Callable[[Any], str | None]] = {
    "attempt": _number(1),  # this run, the first is 1; stands still when a run costs none
    "hop": _number(0),  # how often it was put back on its way
    "stranger_since": _number(0, LATEST_MS),  # first met by a worker without its actor, Unix ms
    "origin": _word,  # `transaction` where it was stored with the sender's own data
    "due": _number(0, LATEST_MS),  # when a delayed one is to be sent, Unix ms
    "expires": _number(1, LATEST_MS),  # how long after that, or after it was sent, it may start
    "redriven": _number(0, LATEST_MS),  # when somebody wanted it back, Unix ms
    "tags": tags.problem,  # what it can be cancelled by, beside its actor and queue
    "unique_key": _key,  # only one job with this key is alive at a time
    "broker_priority": _number(0, 255),
    "max_retries": _number(0),
    "min_backoff": _number(0),
    "max_backoff": _number(0),
    "time_limit": _number(1),
}


def option_problem(name: str, value: object) -> str | None:
    """Say what is wrong with an option, or nothing."""
    check = OPTIONS.get(name)
    return "is not an option of a message" if check is None else check(value)


def decode(body: bytes, queue: str) -> dramatiq.Message[Any]:
    """Read a delivered body strictly.

    Raises `EnvelopeError` with the field and the reason; what passes can neither kill a worker
    thread nor restart a consumer.
    """
    if len(body) > LARGEST_BODY_BYTES:
        raise EnvelopeError(f"body: {len(body)} bytes, at most {LARGEST_BODY_BYTES} are read")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise EnvelopeError(f"not JSON: {err}") from None
    if not isinstance(fields, dict):
        raise EnvelopeError("not a JSON object")
    _check_fields(fields)
    for name, value in fields["options"].items():
        if problem := option_problem(name, value):
            raise EnvelopeError(f"options.{name}: {problem}")
    if fields["queue_name"] != queue:
        raise EnvelopeError(f"queue_name: says {fields['queue_name']!r}, came through {queue!r}")
    return dramatiq.Message(**{**fields, "args": tuple(fields["args"])})


def _check_fields(fields: dict[str, Any]) -> None:
    """Take exactly the fields of a message, each of its type and in its range."""
    if strange := set(fields) ^ set(FIELDS):
        name = min(strange)
        raise EnvelopeError(f"{name}: {'unknown' if name in fields else 'missing'}")
    for name, kind in FIELDS.items():
        if type(fields[name]) is not kind:
            raise EnvelopeError(f"{name}: must be a JSON {kind.__name__}, not {fields[name]!r:.50}")
    if problem := _number(0, LATEST_MS)(fields["message_timestamp"]):
        raise EnvelopeError(f"message_timestamp: {problem}")
    for name in ("message_id", "actor_name"):
        if not 0 < len(fields[name].encode()) <= LONGEST_NAME:
            raise EnvelopeError(f"{name}: must have 1 to {LONGEST_NAME} bytes")


def properties(message: dramatiq.Message[Any], **headers: Any) -> pika.BasicProperties:
    """Fill in what people read in RabbitMQ's management UI."""
    options = message.options
    return pika.BasicProperties(
        message_id=message.message_id,
        type=message.actor_name,
        timestamp=message.message_timestamp // 1000,
        content_type="application/json",
        delivery_mode=pika.DeliveryMode.Persistent.value,
        priority=options.get("broker_priority"),
        app_id="workshed",
        headers={
            "attempt": options.get("attempt", 1),
            "origin": options.get("origin", "send"),
            **headers,
        },
    )


def refuse_inexact(value: object, path: str) -> None:
    """Raise `RefusedArgumentError` for what JSON would change on its way.

    orjson itself writes NaN as null, and dates and UUIDs as strings, without a word.
    """
    match value:
        case None | bool():
            return
        case int() if type(value) is int and value in EXACT_INTEGERS:
            return
        case float() if type(value) is float and math.isfinite(value):
            return
        case str() if type(value) is str:
            _refuse_surrogates(value, path)
        case list() if type(value) is list:
            for index, item in enumerate(value):
                refuse_inexact(item, f"{path}[{index}]")
        case dict() if type(value) is dict:
            for key, item in value.items():
                if type(key) is not str:
                    raise RefusedArgumentError(f"{path}: key {key!r} is not a string")
                refuse_inexact(item, f"{path}[{key!r}]")
        case _:
            raise RefusedArgumentError(
                f"{path}: {value!r:.80} ({type(value).__name__}) does not survive JSON exactly; "
                "pass an id, a string or a number"
            )


def _refuse_surrogates(value: str, path: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RefusedArgumentError(f"{path}: {value!r:.80} is not valid Unicode") from None


def refuse_large(message: dramatiq.Message[Any]) -> None:
    """Raise `PublishRefusedError` for what belongs into a table or a file, with its id sent."""
    size = len(orjson.dumps([message.args, message.kwargs]))
    if size > LARGEST_ARGUMENTS_BYTES:
        raise PublishRefusedError(
            f"{message.actor_name}: {size} bytes of arguments, at most {LARGEST_ARGUMENTS_BYTES} "
            "are sent; store the data and send its id"
        )
    for name in ("message_id", "actor_name"):
        if not 0 < len(getattr(message, name).encode()) <= LONGEST_NAME:
            raise PublishRefusedError(f"{name} must have 1 to {LONGEST_NAME} bytes")
