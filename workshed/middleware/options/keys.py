"""A key made of a job's arguments, by their names or by a function of them."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import dramatiq
import orjson

from workshed.middleware.options.signatures import read_signature

Key = Sequence[str] | Callable[..., object]

LONGEST_BYTES = 200
"""Limit of a readable key; a longer one is replaced by its hash."""


def check_key(actor: dramatiq.Actor[..., Any], key: Key, option: str = "key") -> None:
    """Refuse a key that names arguments the actor does not have."""
    if callable(key):
        return
    if isinstance(key, str):
        raise TypeError(f"{actor.actor_name}: {option}={key!r}: must be a list of argument names")
    known = read_signature(actor.fn).parameters
    for name in key:
        if name not in known:
            raise ValueError(
                f"{actor.actor_name}: {option}={list(key)!r}: it has no argument {name!r}, "
                f"only {', '.join(known) or 'none'}"
            )


def evaluate_key(
    actor: dramatiq.Actor[..., Any], message: dramatiq.Message[Any], key: Key | None
) -> object:
    """Return the value of the key: the named arguments, all of them, or the function's result.

    Positional arguments, keyword arguments and defaults are treated alike. Raises what the function
    raises.
    """
    # Of actors with typed arguments, whose defaults are compared in their JSON form, too.
    typed = getattr(actor, "arguments", None)
    args, kwargs = (message.args, message.kwargs) if typed is None else typed.upgrade(message)
    if callable(key):
        return key(*args, **kwargs)
    bound = read_signature(actor.fn).bind(*args, **kwargs)
    given = dict(bound.arguments)
    bound.apply_defaults()
    arguments = bound.arguments
    if typed is not None:
        arguments = {**arguments, **typed.default_forms, **given}
    names = list(arguments) if key is None else key
    return [arguments[name] for name in names]


def render_key(
    title: str, actor: dramatiq.Actor[..., Any], message: dramatiq.Message[Any], key: Key | None
) -> str:
    """Return a readable key such as `process_image:[7]`; a long key ends in a hash instead.

    So does a key that may contain redacted arguments, because keys appear in lists, logs and
    audits. Raises what the function raises, and `ValueError` for a value that is not JSON.
    """
    value, is_secret = evaluate_key(actor, message, key), _reveals_secret(actor, key)
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError as err:
        said = "made of redacted arguments" if is_secret else f"{value!r:.80}"
        raise ValueError(f"{title}: the key {said} is not JSON: {err}") from None
    found = f"{title}:{text}"
    # PostgreSQL cannot store NUL in a text, but JSON escapes it, so none is left here.
    if len(found.encode()) <= LONGEST_BYTES and not is_secret:
        return found
    return f"{title}:{hashlib.sha256(text.encode()).hexdigest()}"


def _reveals_secret(actor: dramatiq.Actor[..., Any], key: Key | None) -> bool:
    """Return whether a key may contain secret arguments; a function's key always may."""
    secret = set(actor.options.get("redact", ()))
    return bool(secret) and (key is None or callable(key) or not secret.isdisjoint(key))
