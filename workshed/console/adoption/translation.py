"""What a message of stock dramatiq is here: the same job, with the options of Workshed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dramatiq
import orjson

from workshed.jobs.outbox.schedule import Reason
from workshed.transport.errors import EnvelopeError
from workshed.transport.messages.envelope import (
    LARGEST_NUMBER,
    LATEST_MS,
    decode_message,
)

RECORDS = ("eta", "redis_message_id", "requeue_timestamp", "retries", "traceback")
"""Options in which dramatiq's workers note what happened to a message."""
NUMBERS = ("max_backoff", "max_retries", "min_backoff", "result_ttl", "time_limit")
"""Options that dramatiq takes as a float, too."""
CALLBACKS = ("on_success", "on_failure", "on_retry_exhausted")
GROUP = ("group_completion_uuid", "group_completion_callbacks")


@dataclass(frozen=True, slots=True)
class StockJob:
    """A message of dramatiq as Workshed sends it."""

    message: dramatiq.Message[Any]
    due_at: datetime | None
    """When a delayed job, or the next attempt of a failed one, is due."""
    attempt: int
    """Number of its next run, from 1."""
    traceback: str | None
    """Of its latest failure."""

    @property
    def reason(self) -> Reason:
        """Why it is in the schedule."""
        if self.due_at is None:
            return "transactional"
        return "retry" if self.attempt > 1 else "delayed"


def translate(body: bytes, queue: str, actor_options: dict[str, dict[str, Any]]) -> StockJob:
    """Read a message from `queue`, or from its `.DQ` or `.XQ`.

    `actor_options`: options of the actors here, by name. Raises `EnvelopeError` for what is no
    message of dramatiq, or has an option without a counterpart.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise EnvelopeError(f"not JSON: {err}") from None
    options = fields.get("options") if isinstance(fields, dict) else None
    if not isinstance(options, dict):
        raise EnvelopeError("not a message of dramatiq: no options")
    retries = _whole(options, "retries", LARGEST_NUMBER - 1) or 0
    eta = _whole(options, "eta", LATEST_MS)
    traceback = options.get("traceback")
    fields |= {"queue_name": queue, "message_timestamp": _timestamp(fields)}
    fields["options"] = _translate_options(fields, eta, actor_options)
    if retries:
        fields["options"]["attempt"] = retries + 1
    return StockJob(
        message=decode_message(orjson.dumps(fields), queue),
        due_at=None if eta is None else datetime.fromtimestamp(eta / 1000, UTC),
        attempt=retries + 1,
        traceback=traceback if isinstance(traceback, str) else None,
    )


def _translate_options(
    fields: dict[str, Any], eta: int | None, actor_options: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    found = {
        name: int(value) if name in NUMBERS and isinstance(value, float) else value
        for name, value in fields["options"].items()
        if name not in RECORDS and not _is_default(name, value)
    }
    found.pop("notify_shutdown", None)  # every job is interrupted by a shutdown
    if names := [name for name in GROUP if found.get(name)]:
        raise EnvelopeError(
            f"options.{names[0]}: it belongs to a group whose jobs only dramatiq's workers count; "
            "let them finish such groups before its queue is adopted"
        )
    of_actor = actor_options.get(str(fields.get("actor_name")), {})
    for name in CALLBACKS:
        if name in found and found[name] == _actor_name(of_actor.get(name)):
            del found[name]  # the actor here has the same
    if "max_retries" in found and found["max_retries"] is None:  # without end
        found["max_retries"] = LARGEST_NUMBER
    if (max_age := found.pop("max_age", None)) is not None:
        found["expires"] = _expires(max_age, fields["message_timestamp"], eta)
    piped = found.get("pipe_target")
    if isinstance(piped, dict) and isinstance(piped.get("options"), dict):
        sent = {**piped, "message_timestamp": _timestamp(piped)}
        found["pipe_target"] = {**sent, "options": _translate_options(sent, None, actor_options)}
    return found


def _is_default(name: str, value: object) -> bool:
    """Return whether dramatiq takes an option with this value as one that is not there."""
    return (
        (value is None and name != "max_retries")
        or value == []
        or (value == 0 and name in ("max_age", "time_limit"))
    )


def _expires(max_age: object, sent_ms: int, eta: int | None) -> int:
    """Return how long after it is due a job may start; dramatiq's limit counts from its send."""
    if isinstance(max_age, bool) or not isinstance(max_age, int | float):
        raise EnvelopeError(f"options.max_age: must be a number, not {max_age!r:.50}")
    return max(1, int(max_age) - (0 if eta is None else max(0, eta - sent_ms)))


def _timestamp(fields: dict[str, Any]) -> int:
    """Return when it was sent, in whole ms: packages of others write a float."""
    found = _whole(fields, "message_timestamp", LATEST_MS)
    if found is None:
        raise EnvelopeError("message_timestamp: missing")
    return found


def _whole(fields: dict[str, Any], name: str, most: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise EnvelopeError(f"{name}: must be a number from 0 to {most}, not {value!r:.50}")
    return int(value)


def _actor_name(callback: object) -> object:
    """Return the name of an actor, given as such or by its name."""
    return getattr(callback, "actor_name", callback)
