"""Hide the arguments in message bodies that their actors redact."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from workshed.console.operations.strict_json import parse_json
from workshed.database.postgres import Connection
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownActor
from workshed.redaction import HIDDEN


class HasMessage(Protocol):
    """A row with a message."""

    @property
    def actor(self) -> str | None:
        """Its actor; `None` if it could not be read."""

    @property
    def body(self) -> str | bytes:
        """Its JSON."""


R = TypeVar("R", bound=HasMessage)


def redact_rows(conn: Connection, rows: Iterable[R]) -> list[R]:
    """Return the rows with redacted bodies, which may be shown."""
    known = {actor.name: actor for actor in queues.list_actors(conn) if actor.redact}
    return [_redact_row(row, known) for row in rows]


def hide_secrets(body: Any, actor: str | None, known: Mapping[str, KnownActor]) -> Any:
    """Return a message's fields with secret arguments hidden, also in messages nested in it.

    `known`: actors with secret arguments. A unique key is hidden too, because it may contain them.
    """
    if not isinstance(body, dict):
        return body
    found = dict(body)
    options = found.get("options")
    if isinstance(options, dict):
        found["options"] = options = _redact_nested(options, known)
    secret = known.get(actor or "")
    if secret is None:
        return found
    if isinstance(options, dict) and "unique_key" in options:
        options["unique_key"] = HIDDEN
    return found | _redact_arguments(body, secret)


def _redact_nested(options: dict[str, Any], known: Mapping[str, KnownActor]) -> dict[str, Any]:
    """Hide secrets in the messages that are sent after this one."""
    found = dict(options)
    if isinstance(piped := options.get("pipe_target"), dict):
        found["pipe_target"] = _redact_message(piped, known)
    if isinstance(after := options.get("group_completion_callbacks"), list):
        found["group_completion_callbacks"] = [_redact_message(one, known) for one in after]
    return found


def _redact_message(body: Any, known: Mapping[str, KnownActor]) -> Any:
    name = body.get("actor_name") if isinstance(body, dict) else None
    return hide_secrets(body, name if isinstance(name, str) else None, known)


def _redact_arguments(body: Mapping[str, Any], actor: KnownActor) -> dict[str, Any]:
    args, kwargs = body.get("args"), body.get("kwargs")
    found: dict[str, Any] = {}
    if isinstance(args, list):
        fits = len(args) <= len(actor.parameters)
        names = [*actor.parameters[: len(args)]] if fits else [None] * len(args)
        found["args"] = [
            HIDDEN if name is None or name in actor.redact else value
            for name, value in zip(names, args, strict=True)
        ]
    if isinstance(kwargs, dict):
        found["kwargs"] = {n: HIDDEN if n in actor.redact else v for n, v in kwargs.items()}
    return found


def _redact_row(row: R, known: Mapping[str, KnownActor]) -> R:
    if not known or not (row.actor in known or row.actor is None or _has_messages(row.body)):
        return row
    try:
        found = parse_json(row.body)
        body = json.dumps(
            hide_secrets(found, row.actor, known) if row.actor else _redact_message(found, known)
        )
    except ValueError:
        if row.actor not in known:
            return row
        body = HIDDEN  # not JSON, so the secret cannot be located
    redacted: R = dataclasses.replace(row, body=body)  # type: ignore[type-var]
    return redacted


def _has_messages(body: str | bytes) -> bool:
    """Return whether a message may contain others; a cheap test, because most do not."""
    text = body if isinstance(body, bytes) else body.encode(errors="replace")
    return b'"pipe_target"' in text or b'"group_completion_callbacks"' in text
