"""Keep an actor's secret arguments out of all that shows its jobs."""

import functools
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from workshed.redaction import HIDDEN, hide_words

SHORTEST_SECRET = 4
"""Characters; a shorter value is found in every text, so it is hidden by its name only."""

Actor = dramatiq.Actor[..., Any]


class Redaction(Middleware):
    """Know which arguments are not to be shown.

    *Options:* `redact=` (the names of parameters). Their values are in the message, or the job
    could not run; history, logs, Sentry and the console show `[redacted]` instead.
    """

    @property
    def actor_options(self) -> set[str]:
        """Names of the parameters whose values are not shown."""
        return {"redact"}

    def before_declare_actor(self, broker: Broker, actor: Actor) -> None:
        """Refuse a name that is no parameter: it would hide nothing."""
        names = actor.options.get("redact", ())
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{actor.actor_name}: redact={names!r} is no list of names")
        parameters = inspect.signature(actor.fn).parameters
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        for name in names:
            if name not in parameters and not takes_any:
                raise ValueError(
                    f"{actor.actor_name}: redact names {name!r}, which is none of its parameters: "
                    f"{', '.join(parameters) or 'it has none'}"
                )
        actor.options["redact"] = tuple(names)


def redacted_arguments(actor: Actor, message: dramatiq.Message[Any]) -> dict[str, Any]:
    """Name each argument as the actor does, with what is secret hidden.

    Those that do not fit its signature are named by their number, and hidden where anything is.
    """
    secret = actor.options.get("redact", ())
    named = _named(actor.fn, message, hide=bool(secret))
    if not secret:
        return named
    return {name: HIDDEN if name in secret else value for name, value in named.items()}


def scrub_text(actor: Actor, message: dramatiq.Message[Any], text: str) -> str:
    """Hide the values of secret arguments in a text, such as that of an error."""
    return hide_words(text, secret_values(actor, message))


def secret_values(actor: Actor, message: dramatiq.Message[Any]) -> tuple[str, ...]:
    """Return the texts that the values of secret arguments may appear as, the longest first."""
    secret = actor.options.get("redact", ())
    if not secret:
        return ()
    named = _named(actor.fn, message, hide=False)
    words = {w for n, v in named.items() if n in secret or n.isdigit() for w in _words(v)}
    return tuple(sorted(words, key=len, reverse=True))


def positional_parameters(function: Callable[..., Any]) -> list[str]:
    """Name those that can be given by place, in their order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]


_parameters = functools.lru_cache(maxsize=1_000)(positional_parameters)


def _named(
    function: Callable[..., Any], message: dramatiq.Message[Any], *, hide: bool
) -> dict[str, Any]:
    names = _parameters(function)
    if len(message.args) <= len(names):
        named = dict(zip(names, message.args, strict=False))
        return {**named, **message.kwargs} if message.kwargs else named
    by_place = {str(n): HIDDEN if hide else value for n, value in enumerate(message.args)}
    return {**by_place, **message.kwargs}


def _words(value: object) -> Iterator[str]:
    """Return the texts a value may appear as."""
    match value:
        case str():
            found = [value, repr(value)[1:-1], json.dumps(value)[1:-1]]
        case dict():
            found = [word for item in value.values() for word in _words(item)]
        case list() | tuple():
            found = [word for item in value for word in _words(item)]
        case bool() | None:
            found = []
        case _:
            found = [str(value)]
    yield from (word for word in found if len(word) >= SHORTEST_SECRET)
