"""Check the arguments of `workshed enqueue` against the actor's annotations."""

import json
from typing import Any

import dramatiq

from workshed.middleware.options.signatures import read_signature
from workshed.transport.arguments.checks import build_checks
from workshed.transport.errors import InvalidArgumentError


def check_arguments(
    actor: dramatiq.Actor[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Raise `InvalidArgumentError` for a value that does not match its parameter's annotation.

    `send()` checks the same. Here the error also shows the value, which the user just typed, and
    how to write a string. Arguments that do not fit the signature pass; `send()` refuses them.
    """
    checks = build_checks(actor.fn)
    try:
        bound = read_signature(actor.fn).bind(*args, **kwargs)
    except TypeError:
        return
    for name, value in bound.arguments.items():
        if name in checks and (problem := checks[name](value)):
            text = json.dumps(value, ensure_ascii=False)
            quoted = ""
            if not isinstance(value, str) and checks[name](text) is None:
                quoted = f"; for a string, write '{json.dumps(text)}'"
            raise InvalidArgumentError(
                f"{actor.actor_name}: argument {name}: {text:.50} does not fit: "
                f"{problem.expected}{quoted}"
            )
