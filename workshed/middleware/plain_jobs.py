"""Which middleware may concern a plain job: delivered for the first time, without any option.

Most jobs are plain. What happens to them depends on their actor alone, so middleware is asked once
for each actor instead of once for each job.
"""

from typing import Any

import dramatiq
from dramatiq.middleware import Middleware

from workshed.middleware.job import OutcomeMiddleware


def may_check(hook: object, actor: dramatiq.Actor[..., Any]) -> bool:
    """Return whether a `before_process_message` may concern the plain jobs of an actor."""
    middleware = getattr(hook, "__self__", None)
    if not isinstance(middleware, Middleware):
        return True
    if not _answers_for(type(middleware), "checks_plain_jobs", "before_process_message"):
        return True
    return bool(middleware.checks_plain_jobs(actor))  # type: ignore[attr-defined]  # it has one


def may_write(middleware: OutcomeMiddleware, actor: dramatiq.Actor[..., Any]) -> bool:
    """Return whether middleware may write about the success of an actor's plain jobs."""
    if not _answers_for(type(middleware), "writes_plain_success", "handles"):
        return True
    return middleware.writes_plain_success(actor)


def _answers_for(cls: type, answer: str, method: str) -> bool:
    """Return whether an answer of a class is about its method.

    That of a base class is not about a method that an application overrides.
    """
    definers = [
        next((at for at, base in enumerate(cls.__mro__) if name in vars(base)), len(cls.__mro__))
        for name in (answer, method)
    ]
    return definers[0] <= definers[1] < len(cls.__mro__)
