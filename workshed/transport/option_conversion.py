"""Check typed options, and convert them to what dramatiq and messages hold."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from workshed.duration import Milliseconds, to_ms
from workshed.middleware.options.actor_options import ActorOptions, MessageOptions
from workshed.middleware.options.retry_on import HIGHEST_PRIORITY
from workshed.middleware.retrying.retries import as_tuple
from workshed.queues import Queue
from workshed.transport.errors import did_you_mean

ACTOR_DURATIONS = ("time_limit", "hard_time_limit", "min_backoff", "max_backoff", "result_ttl")
"""Options that dramatiq takes in milliseconds."""
MESSAGE_DURATIONS = (
    "time_limit",
    "expires",
    "min_backoff",
    "max_backoff",
    "unique_for",
    "result_ttl",
)
"""Options that a message carries in milliseconds."""
FLAGS = ("once", "store_results", "pipe_ignore")
MAY_BE_ZERO = ("min_backoff", "max_backoff")


def to_dramatiq_options(title: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return an actor's options as dramatiq and the middleware take them.

    Raises `ValueError` for an unknown name, and for a duration, flag, priority or hook of another
    type. The middleware checks the other options.
    """
    _check_names(title, options, ActorOptions.__optional_keys__, ("queue", "name"))
    _check_hooks(title, as_tuple(options.get("around_perform", ())))
    return _convert(title, options, ACTOR_DURATIONS, Milliseconds)


def to_message_options(title: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's options as a message carries them; raises like `to_dramatiq_options`."""
    keywords = ("conn", "delay", "at", "queue")
    _check_names(title, options, MessageOptions.__optional_keys__, keywords)
    found = _convert(title, options, MESSAGE_DURATIONS, int)
    if "priority" in found:
        found["broker_priority"] = found.pop("priority")
    if isinstance(tags := found.get("tags"), tuple):
        found["tags"] = list(tags)
    return found


def check_middleware_options(
    title: str, added: Collection[str], options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the options of the application's own middleware, which adds those in `added`.

    Raises `ValueError` for another one.
    """
    for option in options or {}:
        if option not in added:
            known = ", ".join(sorted(added)) or "none"
            raise ValueError(
                f"{title}: middleware_options: {option!r} is not an option "
                "of the application's own "
                f"middleware, which adds {known}"
            )
    return dict(options or {})


def check_queue(queue: object) -> None:
    """Raise `ValueError` for what is neither a queue nor the name of one."""
    if not isinstance(queue, (str, Queue)):
        raise ValueError(f"queue={queue!r} is neither a name nor a Queue")  # noqa: TRY004 -- as for every option


def _check_hooks(title: str, hooks: tuple[object, ...]) -> None:
    for hook in hooks:
        if not callable(hook):
            raise ValueError(f"{title}: around_perform={hook!r} is not a function")  # noqa: TRY004


def _check_names(
    title: str, options: Mapping[str, object], known: Collection[str], keywords: Collection[str]
) -> None:
    """Refuse unknown names; `keywords`, which are no options, may have been meant."""
    for name in options:
        if name not in known:
            hint = did_you_mean(name, (*known, *keywords))
            raise ValueError(f"{title}: there is no option {name!r}{hint}")


def _convert(
    title: str, options: Mapping[str, Any], durations: Sequence[str], milliseconds: type[int]
) -> dict[str, Any]:
    found = dict(options)
    for name in found.keys() & durations:
        found[name] = milliseconds(_count_milliseconds(title, name, found[name]))
    for name in found.keys() & FLAGS:
        if not isinstance(found[name], bool):
            raise ValueError(f"{title}: {name}={found[name]!r} is neither True nor False")  # noqa: TRY004 -- as for every option
    priority = found.get("priority", 0)
    if type(priority) is not int or not 0 <= priority <= HIGHEST_PRIORITY:
        raise ValueError(
            f"{title}: priority={priority!r} is not a whole number from 0 to {HIGHEST_PRIORITY}"
        )
    return found


def _count_milliseconds(title: str, name: str, span: object) -> int:
    if not isinstance(span, timedelta):
        is_number = isinstance(span, (int, float))
        hint = f"; write {name}=timedelta(seconds=…), or milliseconds=…" if is_number else ""
        raise ValueError(f"{title}: {name}={span!r} is not a timedelta{hint}")  # noqa: TRY004
    found = to_ms(span)
    if found < 0 or (found == 0 and name not in MAY_BE_ZERO):
        raise ValueError(f"{title}: {name}={span!r} is not above zero")
    return found
