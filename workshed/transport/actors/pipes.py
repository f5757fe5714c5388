"""Arguments of a step of a pipeline, which gets its first one from the step before."""

from collections.abc import Mapping, Sequence
from typing import Any

import dramatiq

from workshed.middleware.observability.redaction import positional_parameters
from workshed.middleware.options.signatures import read_signature
from workshed.transport.errors import InvalidArgumentError


def name_arguments(
    actor: dramatiq.Actor[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all arguments but the first by name, so that the result, appended, is the first.

    Raises `InvalidArgumentError` for arguments that the actor does not take.
    """
    signature = read_signature(actor.fn)
    title = f"{actor.actor_name}{signature}, whose first argument is the result of the step before"
    names = positional_parameters(actor.fn)[1:]
    named = dict(zip(names, args, strict=False))
    try:
        signature.bind("result", *args, **kwargs)
        signature.bind("result", **named, **kwargs)
    except TypeError as err:
        raise InvalidArgumentError(f"{title}: {err}") from None
    if len(args) > len(names):
        raise InvalidArgumentError(f"{title}: arguments of *args cannot follow it")
    return {**named, **kwargs}
