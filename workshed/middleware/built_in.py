"""dramatiq's own middleware: why each would do harm here, and what replaces it."""

from dramatiq.middleware import (
    AgeLimit,
    AsyncIO,
    Callbacks,
    CurrentMessage,
    GroupCallbacks,
    Middleware,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)
from dramatiq.results import Results

from workshed.errors import WorkshedError
from workshed.middleware.composition.callbacks import Callbacks as OurCallbacks
from workshed.middleware.composition.groups import Groups
from workshed.middleware.composition.results import Results as OurResults
from workshed.middleware.observability.log_context import LogContext
from workshed.middleware.observability.metrics import Metrics
from workshed.middleware.retrying.expiry import Expiry
from workshed.middleware.retrying.retries import Retries as OurRetries
from workshed.middleware.runtime.event_loop import EventLoop
from workshed.middleware.runtime.parent_watch import ParentWatch
from workshed.middleware.runtime.time_limit import TimeLimit as OurTimeLimit

REFUSED_MIDDLEWARE: dict[type[Middleware], str] = {
    Retries: "retries are built in, and it would send each failed job a second time: set "
    "retry_on=, max_retries=, min_backoff= or max_backoff= on the actor",
    Pipelines: "pipelines are built in, and it would send each next step a second time: use "
    "a.message(1) | b.message()",
    Callbacks: "callbacks are built in, and it would send each a second time: set on_success= or "
    "on_failure= on the actor",
    GroupCallbacks: "group callbacks are built in, and it would send one before its group is "
    "complete: `group(…).add_completion_callback(…)` needs no middleware and no Redis",
    Results: "results are built in, and it would also store those of failed attempts: set "
    "store_results=True on the actor",
    TimeLimit: "time limits are built in, and it would interrupt the storing of an outcome: set "
    "time_limit= on the actor",
    AgeLimit: "it would drop old jobs without a trace: set expires=timedelta(…) on the actor",
    ShutdownNotifications: "every job that outlives WORKSHED_SHUTDOWN_GRACE is interrupted by "
    "`dramatiq.middleware.Shutdown` and runs again; it would also interrupt the other jobs",
    AsyncIO: "async actors are built in, and it would wrap them a second time",
}
"""Why each class is refused, and what to do instead of adding it."""

COUNTERPARTS: dict[type[Middleware], type[Middleware]] = {
    Retries: OurRetries,
    Pipelines: OurCallbacks,
    Callbacks: OurCallbacks,
    GroupCallbacks: Groups,
    Results: OurResults,
    TimeLimit: OurTimeLimit,
    AgeLimit: Expiry,
    ShutdownNotifications: ParentWatch,
    AsyncIO: EventLoop,
    CurrentMessage: LogContext,
}
"""The class here that takes the place of each class of dramatiq's in the chain."""

# By name, because importing it creates a folder in /tmp in every process, for unused metrics.
PROMETHEUS = ("dramatiq.middleware.prometheus", "Prometheus")


def refuse_harmful(middleware: Middleware) -> None:
    """Raise `WorkshedError` for middleware that would corrupt what is built in."""
    name = type(middleware).__name__
    if type(middleware).__module__ == "periodiq":
        raise WorkshedError(
            f"{name} of periodiq drops each run that starts more than 30 s late, and each retry: "
            "leave it out, `periodic=` works without it"
        )
    for stock, instead in REFUSED_MIDDLEWARE.items():
        if isinstance(middleware, stock):
            called = name if type(middleware) is stock else f"{name}, a {stock.__name__}"
            raise WorkshedError(f"leave out {called} of dramatiq: {instead}")


def find_anchor(
    chain: list[Middleware], anchor: type[Middleware] | None
) -> type[Middleware] | None:
    """Return the class in the chain that `before=` or `after=` refers to.

    Raises `WorkshedError`, which names the classes in the chain, for a class that is neither in the
    chain nor has a counterpart there.
    """
    if anchor is None or any(isinstance(one, anchor) for one in chain):
        return anchor
    is_prometheus = (anchor.__module__, anchor.__name__) == PROMETHEUS
    counterpart = Metrics if is_prometheus else COUNTERPARTS.get(anchor)
    if counterpart is not None and any(isinstance(one, counterpart) for one in chain):
        return counterpart
    names = ", ".join(type(one).__name__ for one in chain)
    raise WorkshedError(
        f"{anchor.__name__} is not in the chain, so nothing can be put before or after it; "
        f"the chain is, in order: {names}"
    )
