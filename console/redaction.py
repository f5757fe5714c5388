"""Bodies of messages without what their actors redact."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from console.cli.strict_json import loads
from workshed.db import Connection
from workshed.jobs import queues
from workshed.jobs.queues import Actor
from workshed.jobs.shown import HIDDEN


class Row(Protocol):
    """A row that has a message."""

    @property
    def actor(self) -> str | None:
        """Its actor; `None` where it could not be read."""

    @property
    def body(self) -> str | bytes:
        """Its JSON."""


R = TypeVar("R", bound=Row)


def without_secrets(conn: Connection, rows: Iterable[R]) -> list[R]:
    """Return the rows as they may be shown."""
    known = {actor.name: actor for actor in queues.find_actors(conn) if actor.redact}
    return [_shown(row, known) for row in rows]


def hidden(body: Any, actor: Actor) -> Any:
    """Return a message's fields with its secret arguments hidden, those of pipelines too."""
    if not isinstance(body, dict):
        return body
    args, kwargs = body.get("args"), body.get("kwargs")
    found = dict(body)
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


def _shown(row: R, known: Mapping[str, Actor]) -> R:
    actor = known.get(row.actor or "")
    if actor is None:
        return row
    try:
        body = json.dumps(hidden(loads(row.body), actor))
    except ValueError:
        body = HIDDEN  # whose it is is known, and not where its secret stands
    shown: R = dataclasses.replace(row, body=body)  # type: ignore[type-var]
    return shown
