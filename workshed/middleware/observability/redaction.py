"""Keep an actor's secret arguments out of everything that shows its jobs."""

import functools
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from workshed.middleware.options.signatures import read_signature
from workshed.redaction import HIDDEN, hide_words

SHORTEST_SECRET = 4
"""Characters. A shorter value occurs in any text, so only the argument with its name is hidden."""

Actor = dramatiq.Actor[..., Any]


class Redaction(Middleware):
    """Hide the values of secret arguments wherever jobs are shown.

    History, logs, Sentry and the console show `[redacted]` instead. The message still carries the
    values, because the job needs them.

    *Options:* `redact=` (the names of parameters; by default none).
    """

    @property
    def actor_options(self) -> set[str]:
        """Names of the parameters whose values are hidden."""
        return {"redact"}

    def before_declare_actor(self, broker: Broker, actor: Actor) -> None:
        """Refuse a name that is not a parameter, because it would hide nothing."""
        names = actor.options.get("redact", ())
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{actor.actor_name}: redact={names!r} is not a list of names")
        parameters = read_signature(actor.fn).parameters
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        for name in names:
            if name not in parameters and not takes_any:
                raise ValueError(
                    f"{actor.actor_name}: redact names {name!r}, which is none of its parameters: "
                    f"{', '.join(parameters) or 'it has none'}"
                )
        actor.options["redact"] = tuple(names)


def redact_arguments(actor: Actor, message: dramatiq.Message[Any]) -> dict[str, Any]:
    """Return the arguments by parameter name, with secret ones hidden.

    Arguments that do not fit the signature are named by number. They are all hidden if the actor
    has any secret argument.
    """
    secret = actor.options.get("redact", ())
    named = _arguments_by_name(actor.fn, message, hide=bool(secret))
    if not secret:
        return named
    return {name: HIDDEN if name in secret else value for name, value in named.items()}


def scrub_text(actor: Actor, message: dramatiq.Message[Any], text: str) -> str:
    """Hide the values of secret arguments in a text, for example that of an error."""
    return hide_words(text, secret_values(actor, message))


def secret_values(actor: Actor, message: dramatiq.Message[Any]) -> tuple[str, ...]:
    """Return the texts that the values of secret arguments may appear as, the longest first."""
    secret = actor.options.get("redact", ())
    if not secret:
        return ()
    named = _arguments_by_name(actor.fn, message, hide=False)
    words = {w for n, v in named.items() if n in secret or n.isdigit() for w in _renderings(v)}
    return tuple(sorted(words, key=len, reverse=True))


def positional_parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters that can be passed by position, in order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in read_signature(function).parameters.values() if p.kind in kinds]


_parameters = functools.lru_cache(maxsize=1_000)(positional_parameters)


def _arguments_by_name(
    function: Callable[..., Any], message: dramatiq.Message[Any], *, hide: bool
) -> dict[str, Any]:
    names = _parameters(function)
    if len(message.args) <= len(names):
        named = dict(zip(names, message.args, strict=False))
        return {**named, **message.kwargs} if message.kwargs else named
    by_place = {str(n): HIDDEN if hide else value for n, value in enumerate(message.args)}
    return {**by_place, **message.kwargs}


def _renderings(value: object) -> Iterator[str]:
    """Yield the texts that a value may appear as."""
    match value:
        case str():
            found = [value, repr(value)[1:-1], json.dumps(value)[1:-1]]
        case dict():
            found = [word for item in value.values() for word in _renderings(item)]
        case list() | tuple():
            found = [word for item in value for word in _renderings(item)]
        case bool() | None:
            found = []
        case _:
            found = [str(value)]
    yield from (word for word in found if len(word) >= SHORTEST_SECRET)
