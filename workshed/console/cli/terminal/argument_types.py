"""The arguments of a command line against what an actor says that it takes."""

import inspect
import json
from typing import Any

import dramatiq

from workshed.transport.annotated import checks_of
from workshed.transport.errors import InvalidArgumentError


def check(actor: dramatiq.Actor[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise `InvalidArgumentError` for a value that is not of its parameter's annotation.

    As `send` does, but with the value and how to write a string: what was typed is no secret here.
    What does not fit the signature is let through, for `send` to refuse.
    """
    checks = checks_of(actor.fn)
    try:
        bound = inspect.signature(actor.fn).bind(*args, **kwargs)
    except TypeError:
        return
    for name, value in bound.arguments.items():
        if name in checks and (problem := checks[name](value)):
            text = json.dumps(value, ensure_ascii=False)
            quoted = ""
            if not isinstance(value, str) and checks[name](text) is None:
                quoted = f"; a string is written as '{json.dumps(text)}'"
            why = problem.partition(" does not fit: ")[2]
            raise InvalidArgumentError(
                f"{actor.actor_name}: argument {name}: {text:.50} does not fit: {why}{quoted}"
            )
