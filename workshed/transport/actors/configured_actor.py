"""An actor with options for the next job: `send_invoice.set(delay=…).send(7)`."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

import dramatiq

from workshed.database.adapters import AsyncConnection, SyncConnection
from workshed.duration import to_ms
from workshed.errors import WorkshedError
from workshed.jobs.outbox.schedule import choose_reason
from workshed.transport import schedule
from workshed.transport.actors import pipes
from workshed.transport.actors.typed_messages import Message, PipedMessage
from workshed.transport.base import WorkshedBroker
from workshed.value_class import value_class

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


@value_class
class JobSettings:
    """Options of one job, from `set`."""

    conn: SyncConnection | AsyncConnection | None
    delay: timedelta | None
    at: datetime | None
    queue: str | None
    options: dict[str, Any]
    """Options of its message."""

    def __post_init__(self) -> None:
        """Refuse two times, or one without a time zone, before anything is sent."""
        choose_reason(self.delay, self.at)


class _Configured(Generic[P, R]):
    """An actor and the settings of its next job."""

    def __init__(self, actor: dramatiq.Actor[P, R], settings: JobSettings) -> None:
        self._actor = actor
        self._settings = settings

    def _build(self, args: Any, kwargs: Any) -> dramatiq.Message[R]:
        queue, options = self._settings.queue, dict(self._settings.options)
        if queue in (None, self._actor.queue_name):
            return self._actor.message_with_options(args=args, kwargs=kwargs, **options)
        # Another queue has other levels, so the actor's priority does not apply.
        options.setdefault("broker_priority", 0)
        message = self._actor.message_with_options(args=args, kwargs=kwargs, **options)
        return message.copy(queue_name=queue)


class ConfiguredActor(_Configured[P, R]):
    """An actor with options for its next job; `set` returns it."""

    def send(self, *args: P.args, **kwargs: P.kwargs) -> dramatiq.Message[R]:
        """Send a job with these options; with `conn`, when its transaction commits.

        Raises like `actor.send`, or with `conn` like `schedule.send`.
        """
        message, settings = self._build(args, kwargs), self._settings
        if settings.conn is not None:
            conn: SyncConnection = settings.conn  # type: ignore[assignment]  # by the overloads of `set`
            return schedule.send(conn, message, delay=settings.delay, at=settings.at)
        broker = self._actor.broker
        if settings.at is not None:
            assert isinstance(broker, WorkshedBroker)  # noqa: S101 -- `workshed.actor` takes no other
            return broker.enqueue_at(message, settings.at)
        return broker.enqueue(
            message, delay=None if settings.delay is None else int(to_ms(settings.delay))
        )

    def message(self, *args: P.args, **kwargs: P.kwargs) -> Message[R]:
        """Build a message with these options, for a batch, a pipeline or `schedule.send_many`.

        A `delay` is only for a step of a pipeline, and counts from the end of the step before;
        elsewhere give it to the call that sends. Raises `WorkshedError` with `conn` or `at`, which
        a message cannot carry.
        """
        return cast("Message[R]", self._with_delay(self._build(args, kwargs)))

    def piped(
        self: Callable[Concatenate[T, Q], S],  # pyright: ignore[reportGeneralTypeIssues]
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> "PipedMessage[T, S]":
        """Build a later step of a pipeline, with these options; see `Actor.piped`."""
        own: ConfiguredActor[..., S] = self  # type: ignore[assignment]  # see `Actor.piped`
        message = own._build((), pipes.name_arguments(own._actor, args, kwargs))
        return cast("PipedMessage[T, S]", own._with_delay(message))

    def _with_delay(self, message: dramatiq.Message[R]) -> dramatiq.Message[R]:
        settings = self._settings
        if settings.conn is not None or settings.at is not None:
            raise WorkshedError(
                f"{self._actor.actor_name}: a message carries no `conn` and no `at`: give them to "
                "the call that sends it"
            )
        if settings.delay is None:
            return message
        return message.copy(options={"delay": int(to_ms(settings.delay))})

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here, as `actor(…)` does."""
        return self._actor(*args, **kwargs)


class AsyncConfiguredActor(_Configured[P, R]):
    """An actor with options for its next job, on an asyncio connection; `set` returns it."""

    def send(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[dramatiq.Message[R]]:
        """Send a job with these options when the transaction of `conn` commits.

        Await it; it raises like `schedule.send`.
        """
        conn: AsyncConnection = self._settings.conn  # type: ignore[assignment]  # by the overloads of `set`
        settings = self._settings
        return schedule.send(conn, self._build(args, kwargs), delay=settings.delay, at=settings.at)
