"""Run an actor's function inside of the context managers of `around_perform=`."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
)
from typing import Any

import dramatiq

from workshed.jobs.context import current_job
from workshed.middleware.job import Job
from workshed.middleware.options.actor_options import AroundPerform
from workshed.transport.arguments.actor_arguments import ActorArguments
from workshed.transport.errors import InvalidArgumentError

Function = Callable[..., Any]
FindMessage = Callable[[tuple[Any, ...], dict[str, Any]], dramatiq.Message[Any]]


def wrap_function(
    function: Function,
    hooks: Sequence[AroundPerform],
    *,
    actor: str,
    queue: str,
    arguments: ActorArguments | None,
) -> Function:
    """Return the function inside of its hooks, the first outermost; signature and name stay.

    They run wherever the function does: in a worker, in `perform_now`, and in a direct call.
    """

    def find_message(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dramatiq.Message[Any]:
        """Return the message of the job that runs, or build that of a direct call."""
        job = current_job()
        if isinstance(job, Job) and job.actor == actor:
            message = job.message
            own = (message.args, message.kwargs) if job.arguments is None else job.arguments
            if own == (args, kwargs):
                return message
        if arguments is not None:
            # A direct call may pass anything.
            with contextlib.suppress(InvalidArgumentError):
                args, kwargs = arguments.encode(args, kwargs)
        return dramatiq.Message(queue, actor, args, kwargs, {})

    wrap = _wrap_async if inspect.iscoroutinefunction(function) else _wrap
    return wrap(function, hooks, find_message)


def _wrap(
    function: Function, hooks: Sequence[AroundPerform], find_message: FindMessage
) -> Function:
    @functools.wraps(function)
    def perform(*args: Any, **kwargs: Any) -> Any:
        message = find_message(args, kwargs)
        with ExitStack() as stack:
            for hook in hooks:
                context = hook(message)
                if not isinstance(context, AbstractContextManager):
                    raise TypeError(
                        f"{message.actor_name}: around_perform={hook!r} returns {context!r:.80}, "
                        "which is not a context manager; an async one needs an async actor"
                    )
                stack.enter_context(context)
            return function(*args, **kwargs)

    return perform


def _wrap_async(
    function: Function, hooks: Sequence[AroundPerform], find_message: FindMessage
) -> Function:
    @functools.wraps(function)
    async def perform(*args: Any, **kwargs: Any) -> Any:
        message = find_message(args, kwargs)
        async with AsyncExitStack() as stack:
            for hook in hooks:
                context = hook(message)
                if isinstance(context, AbstractAsyncContextManager):
                    await stack.enter_async_context(context)
                else:
                    stack.enter_context(context)
            return await function(*args, **kwargs)

    return perform
