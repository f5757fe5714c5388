"""Random messages as another program might write them, or as damage might leave them."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

from dramatiq import Message

ACTORS = {"parts": "take", "letters": "take_letter"}
OTHER = {"parts": "letters", "letters": "parts"}
FIELDS = (
    *("queue_name", "actor_name", "args", "kwargs", "options"),
    *("message_id", "message_timestamp"),
)
OPTIONS = (
    *(
        "attempt",
        "failures",
        "failing_since",
        "generation",
        "unknown_actor_since",
        "origin",
        "pipe_target",
    ),
    *("group_completion_uuid", "group_completion_callbacks", "store_results", "result_ttl"),
    *(
        "awaited",
        "pipe_ignore",
        "due",
        "expires",
        "scheduled_for",
        "redriven",
        "batch",
        "callback_of",
    ),
    *("parent", "trace", "tags", "unique_key", "unique_for", "on_conflict", "awaiting_unique_key"),
    *("broker_priority", "max_retries", "min_backoff", "max_backoff", "time_limit"),
    *("eta", "max_age", "Attempt", ""),
)
HEADERS = (
    "published_ms",
    "possible_duplicate",
    "outbox",
    "attempt",
    "origin",
    "publish",
    "x-death",
    "x",
)
PLAUSIBLE = (
    *(1, 3, 20, 300, True, "x", "log", "reschedule", "transaction", ["x"], {"*": 1}),
    *("2f1c1c5e-6f0e-4a57-9e57-0d9d3f1c9f10", {"traceparent": "x"}),
    Message("parts", "take", (1,), {}, {}, "piped").asdict(),
    [Message("letters", "take_letter", (2,), {}, {}, "grouped").asdict()],
)
"""Values that some option accepts."""
DEEP = 3_000
TOO_LARGE_BYTES = 1_100_000
JUNK = (
    *(None, True, False, 0, 1, -1, 3, 300, 2**31, 2**53, 1.5, -1e300),
    *("", "x", "5", "\0", "é" * 200, "take", "parts", "parts.dead", "../x", "'; --", "\ud7ff"),
    *([], [1], [[]], ["x", None], {}, {"x": 1}, {"": {}}, {"queue_name": "parts"}),
)
"""No number is a long duration, because some options are milliseconds."""


@dataclass(slots=True)
class Fuzzed:
    """A message to publish: a body, a queue, and some properties."""

    queue: str
    body: bytes
    message_id: str | None
    priority: int | None = None
    headers: dict[str, Any] = field(default_factory=dict)


def fuzzed(number: int) -> Fuzzed:
    """Return the message with this number."""
    queue = random.choice(list(ACTORS))  # noqa: S311 -- as all below: no secret
    name = f"fuzz-{number}"
    options = random.choice(({}, {"max_retries": 0}, {"tags": ["a"]}, {"time_limit": 9_000}))  # noqa: S311
    message = Message(queue, ACTORS[queue], (number,), {"word": "é"}, dict(options), name)
    fields = dict(message.asdict())
    for _ in range(random.choice((0, 0, 1, 1, 1, 2))):  # noqa: S311
        random.choice((change, drop, add, choose, choose, choose, misroute))(fields)  # noqa: S311
    body = json.dumps(fields, ensure_ascii=random.random() < 0.5).encode(errors="replace")  # noqa: S311
    if random.random() < 0.2:  # noqa: S311
        body = random.choice((cut, flip, insert, repeat, swallow))(body)  # noqa: S311
    found = Fuzzed(queue, body, None if random.random() < 0.1 else name)  # noqa: S311
    if random.random() < 0.3:  # noqa: S311
        found.priority = random.choice((0, 1, 4, 5, 9, 200, 255))  # noqa: S311
        values = [value for value in (junk(), junk()) if not isinstance(value, float)]
        found.headers = {random.choice(HEADERS): value for value in values}  # noqa: S311
    return found


def junk() -> Any:
    return random.choice(JUNK)  # noqa: S311


def change(fields: dict[str, Any]) -> None:
    fields[random.choice(FIELDS)] = junk()  # noqa: S311


def drop(fields: dict[str, Any]) -> None:
    fields.pop(random.choice(FIELDS), None)  # noqa: S311


def add(fields: dict[str, Any]) -> None:
    fields[random.choice(("eta", "args2", "", "Options"))] = junk()  # noqa: S311


def choose(fields: dict[str, Any]) -> None:
    """Set an option, if the message has options."""
    if isinstance(fields.get("options"), dict):
        value = random.choice(PLAUSIBLE) if random.random() < 0.7 else junk()  # noqa: S311
        fields["options"] = {**fields["options"], random.choice(OPTIONS): value}  # noqa: S311


def misroute(fields: dict[str, Any]) -> None:
    """Change the queue, as if the message was moved from another queue by hand."""
    fields["queue_name"] = OTHER.get(str(fields.get("queue_name")), "parts")


def cut(body: bytes) -> bytes:
    return body[: random.randrange(len(body))]  # noqa: S311


def flip(body: bytes) -> bytes:
    place = random.randrange(len(body))  # noqa: S311
    return body[:place] + bytes([body[place] ^ (1 << random.randrange(8))]) + body[place + 1 :]  # noqa: S311


def insert(body: bytes) -> bytes:
    place = random.randrange(len(body))  # noqa: S311
    return body[:place] + random.randbytes(3) + body[place:]  # noqa: S311


def repeat(body: bytes) -> bytes:
    first, last = sorted(random.randrange(len(body)) for _ in range(2))  # noqa: S311
    return body[:last] + body[first:]


def swallow(body: bytes) -> bytes:
    """Make the body deeply nested, empty, or (rarely) too large."""
    deep = b"[" * DEEP + b"]" * DEEP
    if random.random() < 0.02:  # noqa: S311
        return body + b" " * TOO_LARGE_BYTES
    return random.choice((b"", b"null", b"\xff\xfe", deep, b'"' + body + b'"', b"{}" + body))  # noqa: S311
