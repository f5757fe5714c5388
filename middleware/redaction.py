"""Keep an actor's secret arguments out of all that shows its jobs."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from workshed.jobs.shown import HIDDEN

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


def arguments(actor: Actor, message: dramatiq.Message[Any]) -> dict[str, Any]:
    """Name each argument as the actor does, with what is secret hidden.

    Those that do not fit its signature are named by their number, and hidden where anything is.
    """
    secret = set(actor.options.get("redact", ()))
    return {n: HIDDEN if n in secret else v for n, v in _named(actor, message, hide=bool(secret))}


def scrubbed(actor: Actor, message: dramatiq.Message[Any], text: str) -> str:
    """Hide the values of secret arguments in a text, such as that of an error."""
    for word in words(actor, message):
        text = text.replace(word, HIDDEN)
    return text


def words(actor: Actor, message: dramatiq.Message[Any]) -> list[str]:
    """Return the texts that the values of secret arguments may appear as, the longest first."""
    secret = set(actor.options.get("redact", ()))
    if not secret:
        return []
    values = [v for n, v in _named(actor, message, hide=False) if n in secret or n.isdigit()]
    return sorted({w for v in values for w in _words(v)}, key=len, reverse=True)


def _named(
    actor: Actor, message: dramatiq.Message[Any], *, hide: bool
) -> Iterator[tuple[str, Any]]:
    signature = inspect.signature(actor.fn)
    try:
        bound = signature.bind(*message.args, **message.kwargs).arguments
    except TypeError:
        for number, value in enumerate(message.args):
            yield str(number), HIDDEN if hide else value
        yield from message.kwargs.items()
        return
    for name, value in bound.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            yield from value.items()
        else:
            yield name, value


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
