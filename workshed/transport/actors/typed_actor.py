"""The class of actors that `workshed.actor` declares."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack, cast, overload

import dramatiq

from workshed.database.adapters import AsyncConnection, SyncConnection, adapter_for
from workshed.middleware.options.actor_options import MessageOptions
from workshed.queues import Queue
from workshed.transport import direct
from workshed.transport.actors import pipes
from workshed.transport.actors.configured_actor import (
    AsyncConfiguredActor,
    ConfiguredActor,
    JobSettings,
)
from workshed.transport.actors.typed_messages import Message, PipedMessage
from workshed.transport.arguments.actor_arguments import ActorArguments
from workshed.transport.option_conversion import check_middleware_options, to_message_options

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class Actor(dramatiq.Actor[P, R]):
    """A function that can be sent as a job: a `dramatiq.Actor` with typed `set` and `piped`."""

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        options: dict[str, Any],
        arguments: ActorArguments | None = None,
        **others: Any,
    ) -> None:
        """Declare it on its broker; `arguments` are `None` if all are plain JSON."""
        self._priority: int | None = options.pop("priority", None)
        self.arguments = arguments
        super().__init__(fn, options=options, **others)

    def message(self, *args: P.args, **kwargs: P.kwargs) -> Message[R]:
        """Build a message, for `schedule.send`, a batch or a pipeline."""
        return self.message_with_options(args=args, kwargs=kwargs)

    def message_with_options(
        self, *, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **options: Any
    ) -> Message[R]:
        """Build a message with dramatiq's options, in milliseconds; `set` has typed ones.

        Raises `ArgumentTypeError` for an argument that does not fit its annotation.
        """
        if self._priority is not None:
            options.setdefault("broker_priority", self._priority)
        if (arguments := self.arguments) is not None:
            args, kwargs = arguments.encode(args, kwargs or {})
            options = {**arguments.options, **options}
        message = super().message_with_options(args=args, kwargs=kwargs, **options)
        return cast("Message[R]", message)

    def piped(
        self: Callable[Concatenate[T, Q], S],  # pyright: ignore[reportGeneralTypeIssues]
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> "PipedMessage[T, S]":
        """Build a later step of a pipeline: `read.message(path) | store.piped(owner_id=7)`.

        Its first argument is the result of the step before; give the others here. Raises
        `InvalidArgumentError` for arguments that the actor does not take.
        """
        # Its type is that of a function, because type checkers find `T` only in such a type.
        actor: Actor[..., S] = self  # type: ignore[assignment]
        message = actor.message_with_options(kwargs=pipes.name_arguments(actor, args, kwargs))
        return cast("PipedMessage[T, S]", message)

    def perform_now(self, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Run it here and now, and return its result; see `workshed.perform_now`."""
        return direct.perform_now(self, *args, **kwargs)

    @overload
    def set(
        self,
        *,
        conn: AsyncConnection,
        delay: timedelta | None = None,
        at: datetime | None = None,
        queue: str | Queue | None = None,
        middleware_options: Mapping[str, Any] | None = None,
        **options: Unpack[MessageOptions],
    ) -> AsyncConfiguredActor[P, R]: ...

    @overload
    def set(
        self,
        *,
        conn: SyncConnection | None = None,
        delay: timedelta | None = None,
        at: datetime | None = None,
        queue: str | Queue | None = None,
        middleware_options: Mapping[str, Any] | None = None,
        **options: Unpack[MessageOptions],
    ) -> ConfiguredActor[P, R]: ...

    def set(
        self,
        *,
        conn: SyncConnection | AsyncConnection | None = None,
        delay: timedelta | None = None,
        at: datetime | None = None,
        queue: str | Queue | None = None,
        middleware_options: Mapping[str, Any] | None = None,
        **options: Unpack[MessageOptions],
    ) -> ConfiguredActor[P, R] | AsyncConfiguredActor[P, R]:
        """Set options of one job: `send_invoice.set(conn=conn, delay=timedelta(days=3)).send(7)`.

        `conn`: send it when this connection's transaction commits; any connection that
        `schedule.send` takes, and with an asyncio one, await `send`. It is due after `delay`, or at
        `at` (with a time zone). `queue`: its queue, instead of the actor's. `middleware_options`:
        options that the application's own middleware adds. The other options are those of
        `workshed.middleware.MessageOptions`.

        Raises `ValueError` for an unknown option, or a value of the wrong type, `WorkshedError` for
        both `delay` and `at`, or an `at` without a time zone, and `UnknownConnectionError`.
        """
        _check_times(self.actor_name, delay, at)
        name = queue.name if isinstance(queue, Queue) else queue
        found = to_message_options(self.actor_name, options)
        added = getattr(self.broker, "added_options", ())
        found |= check_middleware_options(self.actor_name, added, middleware_options)
        settings = JobSettings(conn, delay, at, name, found)
        if conn is not None and adapter_for(conn).is_async:
            return AsyncConfiguredActor(self, settings)
        return ConfiguredActor(self, settings)


def _check_times(title: str, delay: object, at: object) -> None:
    if delay is not None and (not isinstance(delay, timedelta) or delay < timedelta()):
        raise ValueError(f"{title}: delay={delay!r} is not a timedelta from 0 on")
    if at is not None and not isinstance(at, datetime):
        raise ValueError(f"{title}: at={at!r} is not a datetime")
