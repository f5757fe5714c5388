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


def render_key(
    title: str, actor: dramatiq.Actor[..., Any], message: dramatiq.Message[Any], key: Key | None
) -> str:
    """Write a key people can read: `process_image:[7]`; a long one ends in its hash.

    So does one that may be made of what the actor redacts: keys stand in lists, logs and audits.
    Raises what the function raises, and `ValueError` for a value that is no JSON.
    """
    value, is_secret = value_of(actor, message, key), _may_tell(actor, key)
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError as err:
        said = "made of redacted arguments" if is_secret else f"{value!r:.80}"
        raise ValueError(f"{title}: the key {said} is no JSON: {err}") from None
    found = f"{title}:{text}"
    # PostgreSQL has no NUL in a text; JSON writes it as an escape, so none is here.
    if len(found.encode()) <= LONGEST_BYTES and not is_secret:
        return found
    return f"{title}:{hashlib.sha256(text.encode()).hexdigest()}"


def _may_tell(actor: dramatiq.Actor[..., Any], key: Key | None) -> bool:
    """Say whether a key may be made of secret arguments; of a function nobody knows."""
    secret = set(actor.options.get("redact", ()))
    return bool(secret) and (key is None or callable(key) or not secret.isdisjoint(key))
