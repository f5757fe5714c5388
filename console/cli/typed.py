"""The arguments of a command line against what an actor says that it takes."""

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dramatiq

ONE = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def check(actor: "dramatiq.Actor[..., Any]", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise `RefusedArgumentError` for a value that is not of its parameter's annotation.

    A program has its type checker; a command line has nobody. What has no annotation, or one that
    cannot be read, is let through, and so is what does not fit the signature: `send` refuses that.
    """
    from brokers.errors import RefusedArgumentError

    signature = inspect.signature(actor.fn)
    hints = annotations(actor.fn)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return
    for name, value in bound.arguments.items():
        if name in hints and signature.parameters[name].kind in ONE:
            problem = mismatch(value, hints[name])
            if problem:
                raise RefusedArgumentError(f"{actor.actor_name}: argument {name}: {problem}")


def annotations(function: Any) -> dict[str, Any]:
    """Return what can be read of them."""
    from typing import get_type_hints

    try:
        return get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}


def mismatch(value: Any, hint: Any) -> str | None:
    """Say what is wrong with a value, as JSON has it; nothing where it fits."""
    import json

    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    text = json.dumps(value, ensure_ascii=False)
    try:
        TypeAdapter(hint).validate_json(text, strict=True)
    except ValidationError as err:
        why = err.errors(include_url=False, include_input=False)[0]["msg"]
        quoted = f"; a string is written as '{json.dumps(text)}'" if hint is str else ""
        return f"{text:.50} does not fit: {why}{quoted}"
    except PydanticUserError:  # what it has no schema for
        return None
    return None
