"""Hooks of middleware: Workshed's must not fail, an application's may.

Workshed's hooks fail closed, because a check that crashed must not count as passed. Exceptions of
other middleware are logged and dropped, as in dramatiq: a job must not be lost because a request ID
could not be written, or because the middleware's own database was briefly unavailable.
"""

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

from dramatiq.middleware import Middleware, MiddlewareError, SkipMessage

from workshed.jobs.history.attempts import format_error
from workshed.jobs.signals import Signal
from workshed.middleware import DuplicateDelivery, Outcome, OutcomeKnown, RunIsolated

logger = logging.getLogger(__name__)

Hook = Callable[..., Any]

OWN_PACKAGE = "workshed"
"""The package whose middleware is ours."""
DECIDING_HOOK = "before_process_message"
"""The hook that may skip, snooze, discard or fail a job."""
VERDICTS = (RunIsolated, OutcomeKnown, DuplicateDelivery)
"""What Workshed's own checks raise; an application's subclass of one lets it through."""


def is_workshed_class(cls: type) -> bool:
    """Return whether a class is defined in Workshed."""
    return cls.__module__.partition(".")[0] == OWN_PACKAGE


class TolerantHook:
    """A hook of an application's middleware: most of its exceptions are logged and dropped.

    A `MiddlewareError` is a veto, as in dramatiq. In the hook before a job, `SkipMessage` is an
    outcome with the reason "skipped by CLASS: text", and `Snooze`, `RetryAfter` and `Discard` mean
    what they mean in an actor.
    """

    __name__: str
    __qualname__: str

    def __init__(self, middleware: Middleware, hook: Hook) -> None:
        functools.update_wrapper(self, hook)
        self._hook = hook
        self._middleware_name = type(middleware).__name__
        self._is_deciding = hook.__name__ == DECIDING_HOOK
        self._veto_errors = (
            (MiddlewareError, Signal, *VERDICTS) if self._is_deciding else MiddlewareError
        )

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run the hook."""
        try:
            self._hook(*args, **kwargs)
        except self._veto_errors as err:
            if self._is_deciding and isinstance(err, SkipMessage):
                raise OutcomeKnown(skipped_outcome(self._middleware_name, err)) from err
            raise
        except Exception:
            logger.exception("%s failed; what it raised is ignored", self.__qualname__)


def collect_hooks(chain: Iterable[Middleware], name: str) -> list[Hook]:
    """Return the hooks of that name in the order they run, those not ours as `TolerantHook`."""
    hooks: list[Hook] = []
    for middleware in chain:
        if getattr(type(middleware), name) is getattr(Middleware, name):
            continue
        cls = next(cls for cls in type(middleware).__mro__ if name in vars(cls))
        ours = is_workshed_class(type(middleware)) or is_workshed_class(cls)
        hook = getattr(middleware, name)
        hooks.append(hook if ours else TolerantHook(middleware, hook))
    return hooks[::-1] if name.startswith("after_") else hooks


def skipped_outcome(name: str, error: SkipMessage) -> Outcome:
    """Return the outcome of a job that a middleware skipped."""
    text = format_error(error)
    reason = f"skipped by {name}: {text}" if text else f"skipped by {name}"
    return Outcome("skipped", reason, error)
