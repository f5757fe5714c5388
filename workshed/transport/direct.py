"""Run an actor at once, in the calling process."""

import functools
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import ParamSpec, Protocol, TypeVar

import dramatiq

from workshed.middleware.options.backoff import fixed_wait
from workshed.middleware.retrying.policy import Policy, is_discarded
from workshed.middleware.retrying.retries import as_tuple

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class _MessageChecker(Protocol):
    def check_message(self, message: dramatiq.Message[object]) -> None: ...


def perform_now(actor: dramatiq.Actor[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R | None:
    """Run an actor here and now, and return its result; `None` if the job is discarded.

    A missing record and any error of `discard_on=` discard the job: they are logged, not raised.
    Every other error propagates. Nothing is sent, retried or recorded, and limits, unique keys and
    `once=` do not apply. Arguments are checked as in `send`.

    Raises `InvalidArgumentError`, and what the actor raises.
    """
    broker: _MessageChecker = actor.broker  # type: ignore[assignment]  # ours, as `declare_actor` adds this
    message = actor.message(*args, **kwargs)
    broker.check_message(message)
    arguments = getattr(actor, "arguments", None)
    try:
        if arguments is None:
            return actor.fn(*args, **kwargs)
        placed, named = arguments.decode(message)  # as a worker passes them
        return actor.fn(*placed, **named)
    except Exception as err:
        if not is_discarded(err, _discard_policy(actor)):
            raise
        logger.info("%s is discarded: %s", actor.actor_name, err)
        return None


def add_perform_now(actor: dramatiq.Actor[P, R]) -> None:
    """Make `actor.perform_now(7)` work; actors of `workshed.actor` have it as a method."""
    if hasattr(actor, "perform_now"):
        return
    method: Callable[P, R | None] = functools.partial(perform_now, actor)
    actor.perform_now = method  # type: ignore[attr-defined]  # dramatiq's class does not know it


def _discard_policy(actor: dramatiq.Actor[P, R]) -> Policy:
    """Return the part of the actor's retry policy that decides which errors discard its job."""
    said = actor.options
    return Policy(
        0,
        fixed_wait(timedelta()),
        retry_on=as_tuple(said.get("retry_on", ())),
        discard_on=as_tuple(said.get("discard_on", ())),
        throws=as_tuple(said.get("throws", ())),
    )
