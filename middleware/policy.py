"""What an actor says about its failures, and the verdict that follows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from dramatiq.middleware import Shutdown

from middleware.job import Outcome
from middleware.waits import LONGEST, Wait, exponential, fixed, polynomial
from workshed.errors import PermanentError
from workshed.jobs import Discard, RecordMissing, RetryAfter, Snooze

Errors = tuple[type[BaseException], ...]

INTERRUPTED = Outcome("refund", "interrupted by a shutdown")
"""Of a job that the worker's end cut short: it runs again, and this run costs no attempt."""

FIRST_LOOK = timedelta(seconds=1)
"""A missing record is looked for again after this, then after twice as long, and so on."""


class RetryOn:
    """Retry some errors by rules of their own.

    `RetryOn(TimeoutError, attempts=5, wait="polynomial")`: five attempts, the first included.
    `wait` is a span, `"exponential"`, `"polynomial"`, or a function of (attempt, error).
    """

    def __init__(
        self,
        *errors: type[BaseException],
        attempts: int = 5,
        wait: timedelta | Literal["exponential", "polynomial"] | Wait = "exponential",
    ) -> None:
        """Refuse what could never match or never run."""
        if not errors:
            raise ValueError("RetryOn needs at least one exception class")
        if attempts < 1:
            raise ValueError(f"attempts={attempts}: the first run counts, so at least 1")
        self.errors = errors
        self.attempts = attempts
        self.wait = _wait(wait)


@dataclass(frozen=True, slots=True)
class Policy:
    """An actor's rules, its message's overrides applied."""

    max_retries: int
    wait: Wait
    retry_on: tuple[RetryOn, ...] = ()
    discard_on: Errors = ()
    throws: Errors = ()
    not_visible_for: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Run:
    """The facts of a run that a verdict needs."""

    attempt: int
    hop: int
    transactional: bool
    age: timedelta
    """Since the message was first sent."""


def verdict(error: BaseException | None, run: Run, policy: Policy) -> Outcome:
    """Decide what follows from a run; the one place where that is decided."""
    if error is None:
        return Outcome("done")
    return _said(error, run, policy) or _by_rule(error, run, policy)


def _said(error: BaseException, run: Run, policy: Policy) -> Outcome | None:
    """Follow what the job itself asked for, whatever the rules."""
    match error:
        case Snooze():
            return Outcome("snooze", error.reason, error, error.delay)
        case Shutdown():
            return INTERRUPTED
        case RecordMissing():
            return _missing(error, run, policy)
        case Discard():
            return Outcome("discarded", str(error), error)
        case RetryAfter():
            return _failed(error, run, policy.max_retries + 1, fixed(error.delay))
    return None


def _by_rule(error: BaseException, run: Run, policy: Policy) -> Outcome:
    rule = _rule(error, policy)
    if isinstance(rule, RetryOn):
        return _failed(error, run, rule.attempts, rule.wait)
    if rule is not None:
        return Outcome("discarded", _reason(error), error)
    if isinstance(error, (PermanentError, *policy.throws)):
        return Outcome("dead", _reason(error), error)
    return _failed(error, run, policy.max_retries + 1, policy.wait)


def _rule(error: BaseException, policy: Policy) -> RetryOn | type[BaseException] | None:
    """Find the rule for the nearest of the error's classes, its own first."""
    for cls in type(error).__mro__:
        for group in policy.retry_on:
            if cls in group.errors:
                return group
        if cls in policy.discard_on:
            return cls
    return None


def _failed(error: BaseException, run: Run, attempts: int, wait: Wait) -> Outcome:
    if run.attempt >= attempts:
        times = "once" if run.attempt == 1 else f"{run.attempt} times"
        return Outcome("dead", f"failed {times}: {_reason(error)}", error)
    return Outcome("retry", _reason(error), error, wait(run.attempt, error))


def _missing(error: RecordMissing, run: Run, policy: Policy) -> Outcome:
    """Look again while the sender's transaction may not have committed.

    Only a direct send can be ahead of its data; what was stored with the data cannot. A sender's
    clock may be slow, so one look is never enough.
    """
    left = policy.not_visible_for - run.age
    looked = run.hop > 0 or not policy.not_visible_for
    if run.transactional or (left <= timedelta() and looked):
        return Outcome("discarded", str(error), error)
    pause = min(FIRST_LOOK * 2 ** min(run.hop, 10), max(left, FIRST_LOOK))
    return Outcome("snooze", f"{error} yet", error, pause)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _wait(wait: timedelta | str | Callable[[int, BaseException], timedelta]) -> Wait:
    if isinstance(wait, timedelta):
        return fixed(min(wait, LONGEST))
    if callable(wait):
        return wait
    if wait in ("exponential", "polynomial"):
        return exponential() if wait == "exponential" else polynomial()
    raise ValueError(f'wait={wait!r}: a timedelta, "exponential", "polynomial" or a function')
