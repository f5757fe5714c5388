"""Send the jobs that follow a job in the transaction that stores its outcome."""

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import dramatiq
import orjson
from dramatiq.broker import Broker, MessageProxy
from dramatiq.errors import ActorNotFound
from dramatiq.middleware import MiddlewareError
from dramatiq.worker import Worker

from workshed import db
from workshed.database.postgres import Connection
from workshed.errors import DuplicateJobError, PermanentError, WorkshedError
from workshed.jobs.history.attempts import LONGEST_ERROR, format_error, to_storable
from workshed.middleware.job import Job, Outcome, OutcomeMiddleware
from workshed.middleware.options.signatures import read_signature

logger = logging.getLogger(__name__)

DEATH_OPTIONS = ("on_dead", "on_failure", "on_retry_exhausted")
CALLBACK_OPTIONS = (*DEATH_OPTIONS, "on_success")

LARGEST_DATA_BYTES = 48 << 10
"""Limit of a message that is passed as an argument, so that the callback stays below 64 KiB."""

Function = Callable[..., Any]
Message = dramatiq.Message[Any]


class CallbackError(WorkshedError):
    """An actor names a callback that cannot be sent or that would never end."""


class ResultError(PermanentError):
    """A job's result cannot be passed on, so the job is dead and its successor is not sent."""


@runtime_checkable
class MessageValidator(Protocol):
    """A broker that can check whether it would accept a message."""

    def check_message(self, message: Message) -> None:
        """Raise what `send` would raise."""


class Callbacks(OutcomeMiddleware):
    """Send a callback when a job succeeds or is dead, in the transaction that stores the outcome.

    *Order:* above `OncePerMessage` and `TimeLimit`, so that their wrappers enclose this one and a
    result is checked while the job can still fail.

    *Options:* each callback is an actor or its name. `on_dead=` receives (message, reason) whenever
    a job becomes dead. `on_failure=` receives (message, {"type", "message"}) of the error, also
    only when a job becomes dead; in dramatiq it runs after each failed attempt. As in dramatiq,
    `on_retry_exhausted=` receives (message, {"retries", "max_retries"}) when the retries are
    exhausted, and `on_success=` receives (message, result). `message` is a dict of the message's
    fields. `pipe_ignore=` (bool): ignore the result of the previous job in a pipeline.
    """

    def __init__(self) -> None:
        self._broker: Broker | None = None
        self._targets: dict[str, dict[str, str]] = {}
        self._current = threading.local()

    @property
    def actor_options(self) -> set[str]:
        """The callbacks of an actor, and whether it ignores piped results."""
        return {*CALLBACK_OPTIONS, "pipe_ignore"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Note the actor's callbacks, and wrap its function; the signature and name stay."""
        self._broker = broker
        named = self._targets[actor.actor_name] = dict(_callback_targets(actor))
        for option in DEATH_OPTIONS:
            if named.get(option) == actor.actor_name:
                raise ValueError(
                    f"{actor.actor_name}: {option} names the actor itself, "
                    "so its jobs would never end"
                )
        if isinstance(broker, MessageValidator):
            actor.fn = self._wrap(broker, actor.actor_name, actor.fn)

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Refuse callbacks that name an unknown actor or form a cycle.

        Raises `CallbackError`. The check waits for the boot because a callback may be declared
        after the actor that names it.
        """
        check_callbacks(broker)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Note the job that this thread is about to run, if its result is needed."""
        has_callback = "on_success" in self._targets.get(message.actor_name, ())
        wanted = has_callback or "pipe_target" in message.options
        self._current.job = message.job if wanted else None

    def writes_plain_success(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return False: only a job with successors."""
        return False

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Return whether the outcome has anything to send."""
        if outcome.kind == "succeeded":
            return bool(job.successors)
        named = self._targets.get(job.message.actor_name, {})
        return outcome.is_dead and any(name in named for name in DEATH_OPTIONS)

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Store the messages that follow."""
        broker = self._broker
        assert broker is not None  # noqa: S101 -- an actor was declared on it
        named = self._targets.get(job.message.actor_name, {})
        messages = (
            job.successors
            if outcome.kind == "succeeded"
            else _death_callbacks(broker, named, job, outcome)
        )
        with db.join_transaction(conn):
            for message in messages:
                enqueue_follow_up(broker, message, outcome)

    def _wrap(self, broker: MessageValidator, name: str, function: Function) -> Function:
        @functools.wraps(function)
        def noting(*args: Any, **kwargs: Any) -> Any:
            job: Job | None = self._current.__dict__.pop("job", None)
            result = function(*args, **kwargs)
            if job is not None:
                job.successors = self._successors(broker, name, job, result)
            return result

        return noting

    def _successors(
        self, broker: MessageValidator, name: str, job: Job, result: object
    ) -> list[Message]:
        assert isinstance(broker, Broker)  # noqa: S101 -- of dramatiq, to which `check` was added
        found = []
        if target := self._targets[name].get("on_success"):
            found.append(_message(broker, target, message_fields(job.message), result))
        if piped := job.message.options.get("pipe_target"):
            found.append(_next_step(broker, piped, result))
        for message in found:
            try:
                broker.check_message(strip_delay(message))
            except WorkshedError as err:
                raise ResultError(f"its result cannot be passed on: {err}") from err
        return found


def enqueue_follow_up(broker: Broker, message: Message, outcome: Outcome) -> None:
    """Send a message that follows an outcome, in the outcome's transaction.

    A duplicate or vetoed message is logged and not sent, so that the outcome is not lost. Raises
    `WorkshedError` if the message cannot be sent and the job succeeded: the job is then dead
    instead.
    """
    try:
        broker.enqueue(strip_delay(message), delay=message.options.get("delay"))
    except (DuplicateJobError, MiddlewareError) as err:
        logger.warning("%s could not be sent: %s", message, err)
    except WorkshedError as err:
        if outcome.kind == "succeeded":
            raise
        logger.error("%s could not be sent: %s", message, err)  # noqa: TRY400 -- the sentence says it


def strip_delay(message: Message) -> Message:
    """Return the message without the `delay` of a pipeline step, which is not a message option."""
    if "delay" not in message.options:
        return message
    options = {name: value for name, value in message.options.items() if name != "delay"}
    return replace(message, options=options)


def check_callbacks(broker: Broker) -> None:
    """Raise `CallbackError` for an actor whose callbacks cannot be sent or would never end."""
    for name in sorted(broker.actors):
        for option, target in _callback_targets(broker.actors[name]):
            _check_target(broker, f"{name}: {option}={target!r}", target)
        _check_no_circle(broker, name)


def message_fields(message: Message) -> dict[str, Any]:
    """Return a message's fields as a dict, to be passed as an argument.

    A large message is passed without its args, kwargs and options. If its job is dead, its row has
    them.
    """
    fields = {
        "queue_name": message.queue_name,
        "actor_name": message.actor_name,
        "args": list(message.args),
        "kwargs": message.kwargs,
        "options": message.options,
        "message_id": message.message_id,
        "message_timestamp": message.message_timestamp,
    }
    try:
        # Nested as deep as in the callback's message, because orjson writes at most 254 levels.
        small = len(orjson.dumps([[[fields]]])) <= LARGEST_DATA_BYTES
    except orjson.JSONEncodeError:
        small = False
    return fields if small else {**fields, "args": None, "kwargs": None, "options": None}


def _death_callbacks(
    broker: Broker, named: dict[str, str], job: Job, outcome: Outcome
) -> Iterator[Message]:
    """Build the messages about a dead job."""
    data, error, spent = message_fields(job.message), outcome.error, outcome.retries_exhausted
    reason = to_storable(outcome.reason)[:LONGEST_ERROR]
    if target := named.get("on_dead"):
        yield _message(broker, target, data, reason)
    if target := named.get("on_failure"):
        text = reason if error is None else to_storable(format_error(error))[:LONGEST_ERROR]
        kind = None if error is None else type(error).__name__
        yield _message(broker, target, data, {"type": kind, "message": text})
    if spent is not None and (target := named.get("on_retry_exhausted")):
        counts = {"retries": spent.retries, "max_retries": spent.max_retries}
        yield _message(broker, target, data, counts)


def _message(broker: Broker, target: str, *args: object) -> Message:
    # Stored with the outcome that it reports, so its data is either visible or deleted.
    return broker.get_actor(target).message_with_options(args=args, origin="transaction")


def _next_step(broker: Broker, piped: dict[str, Any], result: object) -> Message:
    """Build the next message of a pipeline."""
    message: Message = dramatiq.Message(**{**piped, "args": tuple(piped["args"])})
    actor = broker.actors.get(message.actor_name)  # it may belong to another program
    usual = actor is not None and actor.options.get("pipe_ignore", False)
    args = message.args
    if not message.options.get("pipe_ignore", usual):
        args = (*args, result)
    return message.copy(args=args, options={"origin": "transaction"})


def _callback_targets(actor: dramatiq.Actor[..., Any]) -> Iterator[tuple[str, str]]:
    """Yield the option and the name of each callback of an actor."""
    for option in CALLBACK_OPTIONS:
        target = actor.options.get(option)
        if isinstance(target, dramatiq.Actor):
            yield option, target.actor_name
        elif isinstance(target, str) and target:
            yield option, target
        elif target is not None:
            raise ValueError(
                f"{actor.actor_name}: {option}={target!r} is neither an actor nor its name"
            )


def _check_target(broker: Broker, said: str, target: str) -> None:
    try:
        signature = read_signature(broker.get_actor(target).fn)
    except ActorNotFound:
        raise CallbackError(
            f"{said}: no actor of this program has that name; correct it, or import its module"
        ) from None
    try:
        signature.bind("message", "and what became of it")
    except TypeError as err:
        raise CallbackError(f"{said} is sent two arguments, and takes {signature}: {err}") from None


def _check_no_circle(broker: Broker, name: str) -> None:
    """Refuse a cycle of callbacks for dead jobs, which would never end."""
    way, left = {name}, [name]
    while left:
        for option, target in _callback_targets(broker.actors[left.pop()]):
            if option in DEATH_OPTIONS and target == name:
                raise CallbackError(
                    f"{name}: {option} leads back to this actor, so its jobs would never end"
                )
            if option in DEATH_OPTIONS and target not in way and target in broker.actors:
                way.add(target)
                left.append(target)
