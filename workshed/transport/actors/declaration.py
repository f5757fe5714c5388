"""`workshed.actor`: declare an actor by typed options."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from workshed.middleware.options.actor_options import ActorOptions
from workshed.middleware.retrying.retries import as_tuple
from workshed.queues import Queue
from workshed.transport.actors.around import wrap_function
from workshed.transport.actors.typed_actor import Actor
from workshed.transport.arguments.actor_arguments import build_arguments
from workshed.transport.arguments.versions import Upgrade
from workshed.transport.base import WorkshedBroker
from workshed.transport.build import get_broker
from workshed.transport.option_conversion import (
    check_middleware_options,
    check_queue,
    to_dramatiq_options,
)

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_QUEUE = "default"


class ActorDecorator(Protocol):
    """Makes an actor of a function."""

    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> Actor[P, R]: ...

    @overload
    def __call__(self, fn: Callable[P, R], /) -> Actor[P, R]: ...


def actor(
    unnamed: None = None,
    /,
    *,
    queue: str | Queue | None = None,
    name: str | None = None,
    broker: WorkshedBroker | None = None,
    version: int = 1,
    upgrade: Upgrade | None = None,
    middleware_options: Mapping[str, Any] | None = None,
    **options: Unpack[ActorOptions],
) -> ActorDecorator:
    """Declare a function as an actor, so that it can be sent as a job.

    `@actor(queue="invoices", time_limit=timedelta(minutes=1))`. The options are those of
    `workshed.middleware.ActorOptions`; what is not given here comes from `broker.defaults`.

    `queue`: the name of a declared queue, or a `Queue`, which is declared here; by default
    `default`. `name`: the name of the actor in messages, by default the function's. `broker`: by
    default `workshed.broker`. `version`: of its arguments; raise it when older arguments no longer
    fit, and give `upgrade`, a function of the older version, its positional arguments and those by
    name, which returns both in their current form. `middleware_options`: options that the
    application's own middleware adds.

    Raises `ValueError` for an unknown option or a value that it cannot have,
    `UndeclaredQueueError`, `SettingsError` for a `Queue` that differs from an earlier one of its
    name, and `AmbiguousUnionError` for an annotation whose types JSON cannot tell apart.
    """
    if unnamed is not None:
        raise TypeError("write @actor(), with parentheses")

    def declare(fn: Callable[..., Any], /) -> Any:
        target = broker or get_broker()
        actor_name = name or fn.__name__
        defaults = target.actor_defaults
        found = to_dramatiq_options(actor_name, {**defaults.options, **options})
        queue_name = _declare_queue(target, queue or defaults.queue or DEFAULT_QUEUE)
        _check_priority(target, actor_name, queue_name, found.get("priority", 0))
        found |= check_middleware_options(actor_name, target.added_options, middleware_options)
        arguments = build_arguments(actor_name, fn, version, upgrade)
        hooks = as_tuple(found.pop("around_perform", ()))
        if hooks:
            fn = wrap_function(fn, hooks, actor=actor_name, queue=queue_name, arguments=arguments)
        declared: Actor[..., Any] = Actor(
            fn,
            actor_name=actor_name,
            queue_name=queue_name,
            priority=0,
            broker=target,
            options=found,
            arguments=arguments,
        )
        defaults.declared.append(actor_name)
        return declared

    return declare


def _declare_queue(broker: WorkshedBroker, queue: str | Queue) -> str:
    check_queue(queue)
    if isinstance(queue, str):
        return queue
    broker.add_queue(queue)
    return queue.name


def _check_priority(broker: WorkshedBroker, actor: str, queue: str, priority: int) -> None:
    known = broker.declared_queues.get(queue)
    if known is not None and priority > known.levels:
        raise ValueError(
            f"{actor}: priority={priority}: the queue {queue!r} has {known.levels} levels; "
            "declare it with more, by Queue(levels=…)"
        )
