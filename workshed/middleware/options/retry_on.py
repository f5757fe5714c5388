"""The rules an actor may state about its errors; what cannot hold is refused."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from dramatiq.middleware import Shutdown

from workshed.jobs import Discard, RecordMissing, Snooze
from workshed.middleware.options.backoff import FURTHEST, Wait, fixed_wait, polynomial_wait

Errors = tuple[type[BaseException], ...]

WORDS = (Snooze, Discard, RecordMissing, Shutdown)
"""Their meaning is fixed; a rule for one of them would never be asked."""

DEFAULT_ATTEMPTS = 5
HIGHEST_PRIORITY = 255
MOST_GROUPS = 64
"""A message carries one count for each, and is never to grow by its errors."""
LONGEST_KEY = 100
"""Bytes."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """Errors that are counted together, and how often and when they are retried."""

    key: str
    """In the messages in flight: it must not depend on anything but which errors these are."""
    attempts: int | None
    """The first run included; `None`: `retry_for` or `retry_when` says when to stop."""
    wait: Wait | None = None
    """`None`: exponential, by the actor's `min_backoff` and `max_backoff`."""
    retry_for: timedelta | None = None
    queue: str | None = None
    priority: int | None = None


class RetryOn:
    """Retry some errors by rules of their own, counted by themselves.

    `RetryOn(TimeoutError, attempts=5, wait="polynomial")`: five attempts, the first included; or
    `retry_for=timedelta(days=2)`, a span that begins with the first of these failures, at the end
    of which is the last attempt. `wait` is a span, `"exponential"`, `"polynomial"`, or a function
    of (attempt, error), where `attempt` is how often these errors were met. `queue` and `priority`
    (RabbitMQ's, high first) are those of the next runs.
    """

    def __init__(
        self,
        *errors: type[BaseException],
        attempts: int | None = None,
        retry_for: timedelta | None = None,
        wait: timedelta | Literal["exponential", "polynomial"] | Wait = "exponential",
        queue: str | None = None,
        priority: int | None = None,
    ) -> None:
        """Refuse what could never match or never run."""
        if not errors:
            raise ValueError("RetryOn needs at least one exception class")
        for error in errors:
            _check_class(error)
        if attempts is not None and retry_for is not None:
            raise ValueError("RetryOn: give attempts or retry_for, not both")
        if attempts is not None and (type(attempts) is not int or attempts < 1):
            raise ValueError(f"attempts={attempts}: the first run counts, so at least 1")
        if retry_for is not None and not timedelta() < retry_for <= FURTHEST:
            raise ValueError(f"retry_for={retry_for}: a timedelta above 0, of a year at most")
        if priority is not None and (
            type(priority) is not int or not 0 <= priority <= HIGHEST_PRIORITY
        ):
            raise ValueError(f"priority={priority!r}: a whole number from 0 to 255, high first")
        if attempts is None and retry_for is None:
            attempts = DEFAULT_ATTEMPTS
        self.errors = errors
        self.group = RetryRule(_key(errors), attempts, _wait(wait), retry_for, queue, priority)


def check_rules(retry_on: tuple[RetryOn, ...], discard_on: Errors, throws: Errors) -> None:
    """Raise `ValueError` for rules that contradict each other, or could never hold."""
    for rule in retry_on:
        if not isinstance(rule, RetryOn):
            raise ValueError(f"retry_on={rule!r}: write RetryOn({_name(rule)})")  # noqa: TRY004 -- as for every option
    for error in (*discard_on, *throws):
        _check_class(error)
    if len(retry_on) >= MOST_GROUPS:
        raise ValueError(f"retry_on: {len(retry_on)} groups, at most {MOST_GROUPS - 1}")
    retried = {error for rule in retry_on for error in rule.errors}
    for said, others in (
        ("retry_on and discard_on", retried.intersection(discard_on)),
        ("retry_on and throws", retried.intersection(throws)),
        ("discard_on and throws", set(discard_on).intersection(throws)),
    ):
        for error in others:
            raise ValueError(f"{_name(error)} is in {said}; say one of them")


def _key(errors: Errors) -> str:
    """Name a group by its errors, whatever their order."""
    key = ",".join(sorted({_name(error) for error in errors}))
    if len(key.encode()) <= LONGEST_KEY:
        return key
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _name(error: object) -> str:
    if not isinstance(error, type):
        return repr(error)
    module = error.__module__
    return error.__qualname__ if module == "builtins" else f"{module}.{error.__qualname__}"


def _check_class(error: object) -> None:
    if not (isinstance(error, type) and issubclass(error, BaseException)):
        raise ValueError(f"{error!r} is no exception class")  # noqa: TRY004 -- as for every option
    if issubclass(error, WORDS):
        raise ValueError(f"{error.__name__} says what follows itself; no rule can change that")  # noqa: TRY004


def _wait(wait: timedelta | str | Callable[[int, BaseException], timedelta]) -> Wait | None:
    if isinstance(wait, timedelta):
        if not timedelta() <= wait <= FURTHEST:
            raise ValueError(f"wait={wait}: a timedelta from 0, of a year at most")
        return fixed_wait(wait)
    if callable(wait):
        return wait
    if wait in ("exponential", "polynomial"):
        return None if wait == "exponential" else polynomial_wait()
    raise ValueError(f'wait={wait!r}: a timedelta, "exponential", "polynomial" or a function')
