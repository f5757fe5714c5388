"""A key made of a job's arguments, by their names or by a function of them."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import dramatiq
import orjson

Key = Sequence[str] | Callable[..., object]

LONGEST_BYTES = 200
"""Of a key people can read; a longer one is its hash."""


def check_key(actor: dramatiq.Actor[..., Any], key: Key, option: str = "key") -> None:
    """Refuse a key of arguments that the actor does not have."""
    if callable(key):
        return
    if isinstance(key, str):
        raise TypeError(f"{actor.actor_name}: {option}={key!r}: a list of argument names")
    known = inspect.signature(actor.fn).parameters
    for name in key:
        if name not in known:
            raise ValueError(
                f"{actor.actor_name}: {option}={list(key)!r}: it has no argument {name!r}, "
                f"only {', '.join(known) or 'none'}"
            )


def value_of(
    actor: dramatiq.Actor[..., Any], message: dramatiq.Message[Any], key: Key | None
) -> object:
    """Return what makes the key: the arguments named, all of them, or what the function returns.

    Positional and named arguments, and defaults, are one. Raises what the function raises.
    """
    if callable(key):
        return key(*message.args, **message.kwargs)
    bound = inspect.signature(actor.fn).bind(*message.args, **message.kwargs)
    bound.apply_defaults()
    arguments = bound.arguments
    names = list(arguments) if key is None else key
    return [arguments[name] for name in names]


def readable(name: str, value: object) -> str:
    """Write a key people can read: `process_image:[7]`; a long one ends in its hash.

    Raises `ValueError` for a value that is no JSON.
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError as err:
        raise ValueError(f"{name}: the key {value!r:.80} is no JSON: {err}") from None
    key = f"{name}:{text}"
    # PostgreSQL has no NUL in a text; JSON writes it as an escape, so none is here.
    if len(key.encode()) <= LONGEST_BYTES:
        return key
    return f"{name}:{hashlib.sha256(text.encode()).hexdigest()}"
