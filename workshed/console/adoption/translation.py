"""Translate a message of stock dramatiq: the same job, with the options of Workshed."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dramatiq
import orjson

from workshed import strict_json
from workshed.jobs.outbox.schedule import Reason
from workshed.transport.errors import EnvelopeError
from workshed.transport.messages.envelope import (
    LARGEST_NUMBER,
    LATEST_MS,
    decode_message,
)
from workshed.value_class import value_class

ActorOptions = Mapping[str, Mapping[str, Any]]
"""The options of the actors here, by name."""

RECORDS = (
    "_sentry_headers",
    "eta",
    "redis_message_id",
    "requeue_timestamp",
    "retries",
    "scheduled_at",
    "traceback",
)
"""Options in which dramatiq, Sentry's integration and periodiq note what happened to a message."""
NUMBERS = ("delay", "max_backoff", "max_retries", "min_backoff", "result_ttl", "time_limit")
"""Options that may be floats, and larger than here."""
CALLBACKS = ("on_success", "on_failure", "on_retry_exhausted")
GROUP = ("group_completion_uuid", "group_completion_callbacks")


@value_class
class StockJob:
    """A message of dramatiq as Workshed sends it."""

    message: dramatiq.Message[Any]
    due_at: datetime | None
    """When a delayed job, or the next attempt of a failed one, is due."""
    attempt: int
    """Number of its next run, from 1."""
    traceback: str | None
    """Of an earlier attempt. Dead messages lack that of the last one, as dramatiq's queue has them
    as they were before it."""

    @property
    def reason(self) -> Reason:
        """Why it is in the schedule."""
        if self.due_at is None:
            return "transactional"
        return "retry" if self.attempt > 1 else "delayed"


def translate(body: bytes, queue: str, actor_options: ActorOptions) -> StockJob:
    """Read a message from `queue`, or from its `.DQ` or `.XQ`.

    Raises `EnvelopeError` for a body that is no message of dramatiq, that has an option without a
    counterpart, or a value that cannot be sent here exactly.
    """
    try:
        fields = json.loads(body)  # as dramatiq does; orjson would round large integers
    except ValueError as err:
        raise EnvelopeError(f"not JSON: {err}") from None
    options = fields.get("options") if isinstance(fields, dict) else None
    if not isinstance(options, dict):
        raise EnvelopeError("not a message of dramatiq: no options")
    retries = _whole(options, "retries", LARGEST_NUMBER - 1) or 0
    eta = _whole(options, "eta", LATEST_MS)
    traceback = options.get("traceback")
    fields |= {"queue_name": queue, "message_timestamp": _timestamp(fields)}
    delayed_ms = 0
    if eta is not None and not retries:
        delayed_ms = max(0, eta - fields["message_timestamp"])
    fields["options"] = _translate_options(fields, delayed_ms, actor_options)
    fields["options"].pop("delay", None)  # `eta` says when it is due
    if retries:
        fields["options"]["attempt"] = retries + 1
    if problem := strict_json.find_inexact(fields, "message"):
        raise EnvelopeError(problem)
    return StockJob(
        message=decode_message(orjson.dumps(fields), queue),
        due_at=None if eta is None else datetime.fromtimestamp(eta / 1000, UTC),
        attempt=retries + 1,
        traceback=traceback if isinstance(traceback, str) else None,
    )


def _translate_options(
    fields: Mapping[str, Any], delayed_ms: int, actor_options: ActorOptions
) -> dict[str, Any]:
    """Return the options here; `delayed_ms`: how long after its send it was to be due."""
    options = {
        name: _clamp(value) if name in NUMBERS else value
        for name, value in fields["options"].items()
        if name not in RECORDS and not _is_default(name, value)
    }
    options.pop("notify_shutdown", None)  # here a shutdown interrupts every job
    if of_group := [name for name in GROUP if options.get(name)]:
        raise EnvelopeError(
            f"options.{of_group[0]}: only dramatiq's workers count the jobs of its group; let them "
            "finish such groups before you adopt their queue"
        )
    of_actor = actor_options.get(str(fields.get("actor_name")), {})
    for name in CALLBACKS:
        if name in options and options[name] == _actor_name(of_actor.get(name)):
            del options[name]  # the actor here has the same
    if "max_retries" in options and options["max_retries"] is None:  # without end
        options["max_retries"] = LARGEST_NUMBER
    if (max_age := options.pop("max_age", None)) is not None:
        options["expires"] = _expires(max_age, delayed_ms)
    piped = options.get("pipe_target")
    if isinstance(piped, dict) and isinstance(piped.get("options"), dict):
        sent = {**piped, "message_timestamp": _timestamp(piped)}
        options["pipe_target"] = {**sent, "options": _translate_options(sent, 0, actor_options)}
    return options


def _is_default(name: str, value: object) -> bool:
    """Return whether dramatiq treats an option with this value like one that is not there."""
    return (
        (value is None and name != "max_retries")
        or value == []
        or (value == 0 and name in ("max_age", "time_limit"))
    )


def _clamp(value: Any) -> Any:
    """Return a number as an integer that fits here; other values as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return value
    return LARGEST_NUMBER if value > LARGEST_NUMBER else math.floor(max(value, -1))


def _expires(max_age: object, delayed_ms: int) -> int:
    """Return how long after it is due a job may start; dramatiq's limit counts from its send."""
    if isinstance(max_age, bool) or not isinstance(max_age, int | float) or math.isnan(max_age):
        raise EnvelopeError(f"options.max_age: must be a number, not {max_age!r:.50}")
    return int(min(max(1, max_age - delayed_ms), LATEST_MS))


def _timestamp(fields: Mapping[str, Any]) -> int:
    """Return when a message was sent, in whole ms: other packages write a float."""
    sent_ms = _whole(fields, "message_timestamp", LATEST_MS)
    if sent_ms is None:
        raise EnvelopeError("message_timestamp: missing")
    return sent_ms


def _whole(fields: Mapping[str, Any], name: str, most: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise EnvelopeError(f"{name}: must be a number from 0 to {most}, not {value!r:.50}")
    return int(value)


def _actor_name(callback: object) -> object:
    """Return the name of an actor that is given as such, or by its name."""
    return getattr(callback, "actor_name", callback)
