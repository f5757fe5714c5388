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

from workshed.jobs.history.attempts import text_of
from workshed.jobs.signals import Signal
from workshed.middleware import DuplicateDelivery, Outcome, OutcomeKnown, RunIsolated

logger = logging.getLogger(__name__)

Hook = Callable[..., Any]

OURS = "workshed"
"""The package whose middleware is ours."""
DECIDES = "before_process_message"
"""The hook that may skip, snooze, discard or fail a job."""
VERDICTS = (RunIsolated, OutcomeKnown, DuplicateDelivery)
"""What Workshed's own checks raise; an application's subclass of one lets it through."""


def is_ours(cls: type) -> bool:
    """Return whether a class is defined in Workshed."""
    return cls.__module__.partition(".")[0] == OURS


class Tolerant:
    """A hook of an application's middleware: most of its exceptions are logged and dropped.

    A `MiddlewareError` is a veto, as in dramatiq. In the hook before a job, `SkipMessage` is an
    outcome with the reason "skipped by CLASS: text", and `Snooze`, `RetryAfter` and `Discard` mean
    what they mean in an actor.
    """

    __name__: str
    __qualname__: str

    def __init__(self, middleware: Middleware, hook: Hook) -> None:
        """Wrap a hook, and take its name."""
        functools.update_wrapper(self, hook)
        self._hook = hook
        self._of = type(middleware).__name__
        self._decides = hook.__name__ == DECIDES
        self._vetoes = (MiddlewareError, Signal, *VERDICTS) if self._decides else MiddlewareError

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run the hook."""
        try:
            self._hook(*args, **kwargs)
        except self._vetoes as err:
            if self._decides and isinstance(err, SkipMessage):
                raise OutcomeKnown(skipped_outcome(self._of, err)) from err
            raise
        except Exception:
            logger.exception("%s failed; what it raised is ignored", self.__qualname__)


def hooks_of(chain: Iterable[Middleware], name: str) -> list[Hook]:
    """Return the hooks of that name in the order they run, those not ours as `Tolerant`."""
    hooks: list[Hook] = []
    for middleware in chain:
        if getattr(type(middleware), name) is getattr(Middleware, name):
            continue
        cls = next(cls for cls in type(middleware).__mro__ if name in vars(cls))
        ours = is_ours(type(middleware)) or is_ours(cls)
        hook = getattr(middleware, name)
        hooks.append(hook if ours else Tolerant(middleware, hook))
    return hooks[::-1] if name.startswith("after_") else hooks


def skipped_outcome(name: str, error: SkipMessage) -> Outcome:
    """Return the outcome of a job that a middleware skipped."""
    text = text_of(error)
    reason = f"skipped by {name}: {text}" if text else f"skipped by {name}"
    return Outcome("skipped", reason, error)
