"""An actor's rules for failures, and the outcome that follows from them."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import timedelta
from typing import Any, Literal

from dramatiq.errors import Retry
from dramatiq.middleware import Shutdown

from workshed.errors import PermanentError
from workshed.jobs import Discard, RecordMissing, RetryAfter, Snooze
from workshed.jobs.history.attempts import format_error
from workshed.middleware.job import Outcome, RetriesExhausted
from workshed.middleware.options.backoff import (
    LONGEST_SPAN,
    Wait,
    clamp_wait,
    custom_wait,
    fixed_wait,
)
from workshed.middleware.options.retry_on import MOST_GROUPS, Errors, RetryOn, RetryRule
from workshed.value_class import value_class

logger = logging.getLogger(__name__)

RetryWhen = Callable[[int, BaseException], bool]

INTERRUPTED = Outcome("interrupted", "interrupted by a shutdown")
"""Outcome of a job that a shutdown cut short: it runs again, and this run costs no attempt."""

FIRST_RECHECK = timedelta(seconds=1)
"""The first wait before another look for a missing record; it doubles each time."""

DEFAULT_RULE_KEY = "*"
"""The group of errors that no rule names."""
MILLISECOND = timedelta(milliseconds=1)


@value_class
class Policy:
    """An actor's rules, with its message's overrides applied."""

    max_retries: int
    wait: Wait
    retry_on: tuple[RetryOn, ...] = ()
    discard_on: Errors = ()
    throws: Errors = ()
    retry_when: RetryWhen | None = None
    """Decides instead of `max_retries`, from the number of retries so far and the error."""
    record_visibility_grace: timedelta = timedelta(seconds=60)
    replica_lag: timedelta = timedelta()

    @property
    def default_rule(self) -> RetryRule:
        """The group of errors that no rule names."""
        return RetryRule(DEFAULT_RULE_KEY, self.max_retries + 1, self.wait)

    @property
    def keys(self) -> set[str]:
        """The keys of all groups."""
        return {DEFAULT_RULE_KEY, *(rule.group.key for rule in self.retry_on)}


@value_class
class RunFacts:
    """The facts about a run that determine its outcome."""

    attempt: int
    generation: int
    is_transactional: bool
    age: timedelta
    """Since the message was first sent."""
    failures: Mapping[str, int] | None = None
    """Earlier failures by group; `None` in a message of an earlier release."""
    failing_since: Mapping[str, int] = field(default_factory=dict)
    """Unix ms of the first failure, for groups with a span."""
    now_ms: int = 0
    missing_since_ms: int | None = None
    """When its record was first missing, Unix ms."""

    def count_failures(self, group: RetryRule) -> int:
        """Return how many runs have ended with this group's errors, including this one."""
        if self.failures is None:
            return self.attempt
        return self.failures.get(group.key, 0) + 1


def decide_outcome(error: BaseException | None, run: RunFacts, policy: Policy) -> Outcome:
    """Decide the outcome of a run; this is the only place that does."""
    if error is None:
        return Outcome("succeeded")
    return _requested_by_job(error, run, policy) or _apply_rule(error, run, policy)


def is_discarded(error: BaseException, policy: Policy) -> bool:
    """Return whether an error ends a job because there is nothing left to do."""
    if isinstance(error, Discard | RecordMissing):
        return True
    return not isinstance(error, Snooze) and _matching_rule(error, policy) == "discarded"


def _requested_by_job(error: BaseException, run: RunFacts, policy: Policy) -> Outcome | None:
    """Return what the job itself asked for, whatever the rules."""
    match error:
        case Snooze():
            return Outcome("snoozed", error.reason, error, clamp_wait(error.delay))
        case Shutdown():
            return INTERRUPTED
        case RecordMissing():
            return _handle_missing_record(error, run, policy)
        case Discard():
            return Outcome(error.outcome, format_error(error), error)
    return None


def _apply_rule(error: BaseException, run: RunFacts, policy: Policy) -> Outcome:
    rule = _matching_rule(error, policy)
    if isinstance(rule, RetryRule):
        return _retry_unless_exhausted(error, run, policy, rule, _delay_requested_by_error(error))
    return Outcome(rule, _reason(error), error)


def _matching_rule(
    error: BaseException, policy: Policy
) -> RetryRule | Literal["discarded", "dead"]:
    """Return the rule for the most specific of the error's classes.

    If two groups name the same class, the one declared last applies, as in ActiveJob.
    """
    for cls in type(error).__mro__:
        for rule in reversed(policy.retry_on):
            if cls in rule.errors:
                return rule.group
        if cls in policy.discard_on:
            return "discarded"
        if cls is PermanentError or cls in policy.throws:
            return "dead"
    return policy.default_rule


def _retry_unless_exhausted(
    error: BaseException, run: RunFacts, policy: Policy, group: RetryRule, wait: Wait | None
) -> Outcome:
    """Retry until the group's attempts or its span are exhausted."""
    failures = run.count_failures(group)
    since_ms = run.failing_since.get(group.key, run.now_ms)
    failing_for = (run.now_ms - since_ms) * MILLISECOND
    if why := _exhausted_reason(error, policy, group, failures, failing_for):
        asked_each_time = group.key == DEFAULT_RULE_KEY and policy.retry_when is not None
        most = None if group.attempts is None or asked_each_time else group.attempts - 1
        others = "" if failures == run.attempt else f" in {run.attempt} runs"
        reason = f"failed {why}{others}: {_reason(error)}"
        return Outcome(
            "dead", reason, error, retries_exhausted=RetriesExhausted(failures - 1, most)
        )
    delay = (wait or custom_wait(group.wait or policy.wait, policy.wait))(failures, error)
    options: dict[str, Any] = {
        "failures": _set_count(run.failures or {}, group.key, failures, policy)
    }
    if group.retry_for is not None:
        if wait is None:  # else the error itself says when to retry
            delay = min(delay, group.retry_for - failing_for)  # the span ends with an attempt
        options["failing_since"] = _set_count(run.failing_since, group.key, since_ms, policy)
    if group.priority is not None:
        options["broker_priority"] = group.priority
    return Outcome("retry", _reason(error), error, delay, options, group.queue)


def _exhausted_reason(
    error: BaseException, policy: Policy, group: RetryRule, failures: int, failing_for: timedelta
) -> str | None:
    """Return why there is no further attempt, or `None` if there is one."""
    times = "once" if failures == 1 else f"{failures} times"
    if group.retry_for is not None:
        return f"{times}, for {failing_for}" if failing_for >= group.retry_for else None
    if group.key == DEFAULT_RULE_KEY and policy.retry_when is not None:
        try:
            wanted = policy.retry_when(failures - 1, error)
        except Exception:
            logger.exception("retry_when raised an exception; using max_retries instead")
        else:
            return None if wanted else f"{times}, and retry_when allows no more"
    return times if group.attempts is not None and failures >= group.attempts else None


def _set_count(old: Mapping[str, int], key: str, value: int, policy: Policy) -> dict[str, int]:
    """Set a group's value in a message; those of unknown groups stay while there is room.

    Workers of two releases may take turns with a message, and must not delete each other's counts.
    """
    counts = {**old, key: value}
    if len(counts) > MOST_GROUPS:
        known = policy.keys
        counts = {name: count for name, count in counts.items() if name in known}
    return counts


def _handle_missing_record(error: RecordMissing, run: RunFacts, policy: Policy) -> Outcome:
    """Look again while the record may exist without being visible yet.

    Only a directly sent job can be ahead of its data. A job that was stored with its data cannot,
    unless the data is read from a replica. A sender's clock may be slow, so there is always a
    second look. For a replica the time runs from the first look, because a long transaction may
    have just committed.
    """
    options: dict[str, Any] = {}
    if run.is_transactional:
        since_ms = run.now_ms if run.missing_since_ms is None else run.missing_since_ms
        left = policy.replica_lag - (run.now_ms - since_ms) * MILLISECOND
        options["record_missing_since"] = since_ms
    else:
        left = max(policy.record_visibility_grace, policy.replica_lag) - run.age
        if run.generation == 0 and policy.record_visibility_grace:
            left = max(left, FIRST_RECHECK)
    if left <= timedelta():
        return Outcome("discarded", str(error), error)
    pause = min(FIRST_RECHECK * 2 ** min(run.generation, 10), max(left, FIRST_RECHECK))
    return Outcome("snoozed", f"{error} yet", error, pause, options)


def _delay_requested_by_error(error: BaseException) -> Wait | None:
    """Return the wait that an error itself asks for."""
    match error:
        case RetryAfter():
            return fixed_wait(clamp_wait(error.delay))
        case Retry(delay=int(ms)):  # clamped first, because `timedelta` can overflow
            return fixed_wait(min(max(ms, 0), LONGEST_SPAN // MILLISECOND) * MILLISECOND)
    return None


def _reason(error: BaseException) -> str:
    text = format_error(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
