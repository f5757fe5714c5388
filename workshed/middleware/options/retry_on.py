"""An actor's rules for its errors; rules that cannot apply are refused."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

from dramatiq.middleware import Shutdown

from workshed.jobs import Discard, RecordMissing, Snooze
from workshed.middleware.options.backoff import LONGEST_SPAN, Wait, fixed_wait, polynomial_wait
from workshed.value_class import value_class

Errors = tuple[type[BaseException], ...]

SIGNALS = (Snooze, Discard, RecordMissing, Shutdown)
"""Signals with a fixed meaning; a rule for one of them would never be used."""

DEFAULT_ATTEMPTS = 5
HIGHEST_PRIORITY = 255
MOST_GROUPS = 64
"""A message carries one count for each group, so this bounds its growth."""
LONGEST_KEY = 100
"""Bytes."""


@value_class
class RetryRule:
    """Errors that are counted together, and how often and when they are retried."""

    key: str
    """Stored in messages in flight, so it must depend only on which errors these are."""
    attempts: int | None
    """Includes the first run; `None`: `retry_for` or `retry_when` decides when to stop."""
    wait: Wait | None = None
    """`None`: exponential, by the actor's `min_backoff` and `max_backoff`."""
    retry_for: timedelta | None = None
    queue: str | None = None
    priority: int | None = None


class RetryOn:
    """Retry some errors by a rule of their own, with a count of their own.

    `RetryOn(TimeoutError, attempts=5, wait="polynomial")`: five attempts, including the first.
    Instead of `attempts` you can give `retry_for=timedelta(days=2)`, a span from the first of these
    failures that ends with the last attempt. `wait` is a span, `"exponential"`, `"polynomial"`, or
    a function of (attempt, error), where `attempt` is how often these errors have occurred. `queue`
    and `priority` (RabbitMQ's, high first) apply to the retries.
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
        """Refuse a rule that could never match or never run."""
        if not errors:
            raise ValueError("RetryOn needs at least one exception class")
        for error in errors:
            _check_class(error)
        if attempts is not None and retry_for is not None:
            raise ValueError("RetryOn: give attempts or retry_for, not both")
        if attempts is not None and (type(attempts) is not int or attempts < 1):
            raise ValueError(f"attempts={attempts}: must be at least 1, as the first run counts")
        if retry_for is not None and not timedelta() < retry_for <= LONGEST_SPAN:
            raise ValueError(f"retry_for={retry_for}: must be a timedelta above 0, at most a year")
        if priority is not None and (
            type(priority) is not int or not 0 <= priority <= HIGHEST_PRIORITY
        ):
            raise ValueError(f"priority={priority!r}: must be a whole number from 0 to 255")
        if attempts is None and retry_for is None:
            attempts = DEFAULT_ATTEMPTS
        self.errors = errors
        self.group = RetryRule(_key(errors), attempts, _wait(wait), retry_for, queue, priority)


def check_rules(retry_on: tuple[RetryOn, ...], discard_on: Errors, throws: Errors) -> None:
    """Raise `ValueError` for rules that contradict each other or can never apply."""
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
            raise ValueError(f"{_name(error)} is in {said}; use only one of them")


def _key(errors: Errors) -> str:
    """Name a group by its errors, in any order."""
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
        raise ValueError(f"{error!r} is not an exception class")  # noqa: TRY004 -- as for every option
    if issubclass(error, SIGNALS):
        raise ValueError(f"{error.__name__} has a fixed meaning; no rule can change it")  # noqa: TRY004


def _wait(wait: timedelta | str | Callable[[int, BaseException], timedelta]) -> Wait | None:
    if isinstance(wait, timedelta):
        if not timedelta() <= wait <= LONGEST_SPAN:
            raise ValueError(f"wait={wait}: must be a timedelta from 0 to a year")
        return fixed_wait(wait)
    if callable(wait):
        return wait
    if wait in ("exponential", "polynomial"):
        return None if wait == "exponential" else polynomial_wait()
    raise ValueError(
        f'wait={wait!r}: must be a timedelta, "exponential", "polynomial" or a function'
    )
