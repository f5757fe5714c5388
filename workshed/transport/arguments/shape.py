"""Describe the arguments of an actor for senders in other languages, above all SQL."""

import inspect
from collections.abc import Callable
from typing import Any

from workshed.middleware.options.signatures import read_signature
from workshed.transport.arguments.actor_arguments import ActorArguments
from workshed.transport.arguments.annotations import cached_annotations
from workshed.transport.arguments.checks import SINGLE_VALUE_KINDS
from workshed.transport.arguments.json_kinds import ANYTHING, Kinds, plain_kinds

PASSED_BY: dict[Any, str] = {
    inspect.Parameter.POSITIONAL_ONLY: "place",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.KEYWORD_ONLY: "name",
}


def describe_arguments(
    function: Callable[..., Any], arguments: ActorArguments | None
) -> dict[str, Any]:
    """Return names, places, presence and JSON types; the types are left out if any will do."""
    parameters = read_signature(function).parameters.values()
    kinds = {one.kind for one in parameters}
    return {
        "parameters": [
            _describe(one, _find_kinds(function, one, arguments))
            for one in parameters
            if one.kind in SINGLE_VALUE_KINDS
        ],
        "more_places": inspect.Parameter.VAR_POSITIONAL in kinds,
        "more_names": inspect.Parameter.VAR_KEYWORD in kinds,
    }


def _describe(parameter: inspect.Parameter, kinds: Kinds) -> dict[str, Any]:
    found = {
        "name": parameter.name,
        "by": PASSED_BY[parameter.kind],
        "required": parameter.default is parameter.empty,
    }
    return found if kinds >= ANYTHING else {**found, "types": sorted(kinds)}


def _find_kinds(
    function: Callable[..., Any], parameter: inspect.Parameter, arguments: ActorArguments | None
) -> Kinds:
    hints = cached_annotations(function)
    if parameter.name not in hints:
        return ANYTHING
    if arguments is not None and parameter.name in arguments.codecs:
        return arguments.codecs[parameter.name].kinds
    found = plain_kinds(hints[parameter.name]) or ANYTHING
    return found | {"null"} if parameter.default is None else found
