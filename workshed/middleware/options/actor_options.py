"""The options of an actor and of a single job, with units, as typed keywords."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from typing import Any, TypeAlias, TypedDict, TypeVar

import dramatiq

from workshed.cronspec import PeriodicSchedule
from workshed.middleware.options.limit import Limit
from workshed.middleware.options.retry_on import RetryOn
from workshed.middleware.options.unique import OnConflict, Unique

AroundPerform = Callable[
    [dramatiq.Message[Any]],
    AbstractContextManager[object] | AbstractAsyncContextManager[object],
]
"""A function of the message that returns a context manager, in which the job's function runs."""
Callback = dramatiq.Actor[..., Any] | str
ErrorClass = type[BaseException]

Item = TypeVar("Item")
OneOrMore: TypeAlias = Item | tuple[Item, ...] | list[Item]


class ActorOptions(TypedDict, total=False):
    """Options of `workshed.actor` and `broker.defaults`; every duration is a `timedelta`."""

    time_limit: timedelta
    """`TimeLimitExceeded` is raised in a job that runs longer; by default 10 minutes."""
    hard_time_limit: timedelta
    """A job that still runs then is given up, and its process replaced; by default half as much
    again as the time limit, and at least 30 s more."""
    retry_on: OneOrMore[RetryOn]
    """Rules for some errors, each with a count of its own."""
    max_retries: int
    """Most retries after errors that no rule names."""
    min_backoff: timedelta
    """The wait before the first of these retries; each further one waits about twice as long."""
    max_backoff: timedelta
    """The longest of these waits."""
    retry_when: Callable[[int, BaseException], bool]
    """Decides instead of `max_retries`, from the number of retries so far and the error."""
    discard_on: OneOrMore[ErrorClass]
    """Errors that end the job without a retry: there is nothing left to do."""
    after_discard: Callable[[dramatiq.Message[Any], str], object]
    """Called with the message and the reason once a discard has committed."""
    throws: OneOrMore[ErrorClass]
    """Expected errors: the job is dead at once, and Sentry does not report it."""
    once: bool
    """Run the job in one transaction with its outcome, so that its writes happen exactly once."""
    unique: Unique
    """Allow one queued or running job per key."""
    limit: OneOrMore[Limit]
    """Limit how many jobs run at a time, or start within a span, across all workers."""
    expires: timedelta
    """How long after it is due a job may start; a later one is dead."""
    periodic: PeriodicSchedule
    """Run it on a schedule: `daily`, `cron` or `every`."""
    needs: str
    """The migration stream without which a periodic job has no runs."""
    tags: list[str] | tuple[str, ...]
    """Words by which lists and cancellations select its jobs."""
    redact: list[str] | tuple[str, ...]
    """Names of parameters whose values are hidden wherever a job is shown."""
    priority: int
    """RabbitMQ's priority of its jobs, from 0 to the levels of its queue; the highest runs
    first."""
    store_results: bool
    """Store what it returns, for `message.get_result()`."""
    result_ttl: timedelta
    """How long its results are stored; by default 10 minutes."""
    pipe_ignore: bool
    """Ignore the result of the previous job in a pipeline."""
    on_success: Callback
    """An actor, or its name, that is sent (message, result) when a job has succeeded."""
    on_dead: Callback
    """An actor, or its name, that is sent (message, reason) when a job is dead."""
    on_failure: Callback
    """An actor, or its name, that is sent (message, {"type", "message"} of the error) when a job
    is dead."""
    on_retry_exhausted: Callback
    """An actor, or its name, that is sent (message, {"retries", "max_retries"}) when a job has no
    retries left."""
    around_perform: OneOrMore[AroundPerform]
    """Functions of the message, each returning a context manager that the job runs in; the first
    is the outermost."""


class MessageOptions(TypedDict, total=False):
    """Options of a single job, for `actor.set`; each replaces the actor's."""

    priority: int
    """RabbitMQ's priority, from 0 to the levels of the queue; the highest runs first."""
    tags: list[str] | tuple[str, ...]
    """Words by which lists and cancellations select it, in addition to the actor's."""
    time_limit: timedelta
    """`TimeLimitExceeded` is raised in a job that runs longer."""
    expires: timedelta
    """How long after it is due the job may start."""
    max_retries: int
    """Most retries after errors that no rule names."""
    min_backoff: timedelta
    """The wait before the first of these retries."""
    max_backoff: timedelta
    """The longest of these waits."""
    unique_key: str
    """The key of a unique job, instead of the one made of its arguments."""
    unique_for: timedelta
    """The key is released after this span in any case."""
    on_conflict: OnConflict
    """What happens if another job has the key."""
    store_results: bool
    """Store what it returns, for `message.get_result()`."""
    result_ttl: timedelta
    """How long its result is stored."""
    pipe_ignore: bool
    """Ignore the result of the previous job in a pipeline."""
