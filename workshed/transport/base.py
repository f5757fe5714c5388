"""What all Workshed brokers share: declared queues, checked messages, hooks that fail closed."""

import inspect
import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar, Unpack

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.threading import is_gevent_active
from dramatiq.worker import Worker

from workshed import db, logs, strict_json
from workshed.database.adapters import SyncConnection, run_on
from workshed.database.postgres import Connection, Statement
from workshed.errors import DuplicateJobError, SettingsError, WorkshedError
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.locks import unique
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.schedule import Reason
from workshed.metrics import meters
from workshed.metrics.meters import OTHER, SendResult
from workshed.middleware import built_in
from workshed.middleware.observability.redaction import positional_parameters
from workshed.middleware.observability.sentry import remove_sdk_integration
from workshed.middleware.options.actor_options import ActorOptions
from workshed.middleware.options.signatures import read_signature
from workshed.middleware.runtime.unsupported_options import MESSAGE_OPTION_HINTS
from workshed.queues import Queue
from workshed.transport import direct
from workshed.transport.actor_defaults import ActorDefaults
from workshed.transport.arguments.checks import Checks, build_checks
from workshed.transport.arguments.shape import describe_arguments
from workshed.transport.arguments.versions import FIRST_VERSION, VERSION, actor_version
from workshed.transport.errors import (
    ArgumentTypeError,
    InvalidArgumentError,
    InvalidOptionError,
    UndeclaredQueueError,
    did_you_mean,
    exit_code,
)
from workshed.transport.hooks import TolerantHook, collect_hooks, is_workshed_class
from workshed.transport.messages.envelope import (
    OPTIONS,
    encode_message,
    find_option_problem,
    refuse_foreign_encoder,
    refuse_inexact_value,
    refuse_invalid_fields,
    refuse_large_arguments,
)
from workshed.transport.publishing.outgoing import awaiting_key_body, key_claim
from workshed.transport.strays import refuse_stray_actors

R = TypeVar("R")

logger = logging.getLogger(__name__)

# These hooks may veto. dramatiq logs and drops most exceptions of hooks, so that a check that
# crashed would count as passed.
RAISING_HOOKS = frozenset({"before_enqueue", "before_declare_actor", "before_worker_boot"})

PIPED_RESULT = object()
"""Stands for the result of the previous step of a pipeline, which is not known yet."""

ORIGIN = "transaction"
"""Option of messages that were sent in a transaction of the application."""

ROWS_PER_STATEMENT = 500
"""Most rows that one statement stores."""


class WorkshedBroker(Broker):
    """A broker with declared queues that accepts only messages which can be run."""

    prefix = ""
    """Prefix of queue names on RabbitMQ."""
    consumption_module = "workshed.transport.consumption"
    """The module of the part that only workers load."""
    is_embedded = False
    """Its worker runs in a web process, which it must not end, and whose signals and logging are
    not its own."""
    is_replaced = False
    """A test takes what is sent through it, and runs it."""

    def __init__(self, queues: dict[str, Queue], middleware: list[Middleware]) -> None:
        """Take the declared queues and the middleware chain; open no connection."""
        self.declared_queues = queues
        self._added_queues: set[str] = set()
        self._signatures: dict[str, inspect.Signature] = {}
        self._parameter_names: dict[str, tuple[str, ...] | None] = {}
        """By actor: its parameter names, or `None` if one is not a plain parameter."""
        self._checks: dict[str, Checks] = {}
        """By actor: checks of its annotated parameters."""
        self._hooks: dict[str, list[Any]] = {}
        self._rechecks_sends = False
        """Whether a hook of an application may have changed a message before it is sent."""
        self.actor_defaults = ActorDefaults()
        """What `defaults` has set."""
        self.find_transaction: Callable[[], SyncConnection | None] = lambda: None
        """Returns the connection of a transaction that this thread has open, which plain sends are
        to join; set for frameworks that keep one per thread."""
        self.find_test_transaction: Callable[[], Any] = lambda: None
        """Returns a connection in the transaction that a test of the framework has open in this
        thread, and will roll back; the test kit then works in it."""
        self.import_actor: Callable[[str], object] = lambda _: None
        """Imports the actor of this name, which no module has declared so far, if there is one; set
        for frameworks whose actors are in modules that are imported on use."""
        self.added_options: set[str] = set()
        """Options that an application's middleware adds to every actor and every message."""
        self._own_before: dict[str, Callable[..., None]] = {"worker_boot": self._boot}
        """By signal: a method that does this broker's own work and runs the hooks itself."""
        self._own_after: dict[str, Callable[..., None]] = {}
        """By signal: what this broker does before the hooks. None of it may raise."""
        super().__init__(middleware=middleware)
        self.middleware = remove_sdk_integration(self.middleware)

    def add_queue(self, queue: Queue) -> None:
        """Declare a queue of your own, before the first actor on it.

        The same queue may be declared again. Raises `SettingsError` if it differs in more than its
        weight, of which the first one holds.
        """
        known = self.declared_queues.get(queue.name)
        if known is None:
            self.declared_queues[queue.name] = replace(queue, prefix=self.prefix)
        elif replace(known, weight=1, prefix="") != replace(queue, weight=1, prefix=""):
            raise SettingsError(
                f"queue {queue.name!r} is declared twice, and differently: {known} and {queue}"
            )
        self._added_queues.add(queue.name)

    def defaults(
        self, *, queue: str | Queue | None = None, **options: Unpack[ActorOptions]
    ) -> None:
        """Set defaults of all actors that `@workshed.actor` declares from now on.

        An actor's own option replaces the default. Call this before the modules of your actors are
        imported. Raises `WorkshedError` if some were declared before, and `ValueError` for an
        unknown option, or a duration, flag, queue or hook of another type.
        """
        self.actor_defaults.update(queue, options)

    def used_queues(self) -> dict[str, Queue]:
        """Return the queues of this program's actors, and those added by `add_queue`.

        A worker creates no other queues on RabbitMQ.
        """
        names = self._added_queues | self.queues.keys()
        return {name: queue for name, queue in self.declared_queues.items() if name in names}

    def declare_actor(self, actor: dramatiq.Actor[..., Any]) -> None:
        """Add an actor, or replace one of the same name, and give it `perform_now`."""
        super().declare_actor(actor)
        direct.add_perform_now(actor)
        self._checks[actor.actor_name] = build_checks(actor.fn)
        signature = read_signature(actor.fn)
        self._signatures[actor.actor_name] = signature
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        plain = kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}
        self._parameter_names[actor.actor_name] = tuple(signature.parameters) if plain else None

    def declare_queue(self, queue_name: str) -> None:
        """Note that an actor of this program is on a declared queue; opens no connection.

        Raises `UndeclaredQueueError`.
        """
        if queue_name not in self.declared_queues:
            raise UndeclaredQueueError(queue_name, self.declared_queues)
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def add_middleware(
        self,
        middleware: Middleware,
        *,
        before: type[Middleware] | None = None,
        after: type[Middleware] | None = None,
    ) -> None:
        """Add middleware; `before=` and `after=` take dramatiq's classes for their counterparts.

        Raises `WorkshedError` for middleware that would break built-in middleware, and for a place
        that does not exist.
        """
        if not is_workshed_class(type(middleware)):
            built_in.refuse_harmful(middleware)
            self.added_options |= middleware.actor_options - self.actor_options
        before = built_in.find_anchor(self.middleware, before)
        after = built_in.find_anchor(self.middleware, after)
        super().add_middleware(middleware, before=before, after=after)
        self._hooks.clear()

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Run the hooks in the chain's order; only those that may veto raise."""
        own = self._own_before.get(signal)
        if own is not None:
            own(*args, **kwargs)
        elif hooks := self._hooks_for("before_" + signal):
            self._emit(hooks, *args, **kwargs)

    def _boot(self, worker: Worker) -> None:
        """Run the start-up checks; if one fails, exit with one sentence and an exit code."""
        logs.filter_worker_logs()
        try:
            self.check_worker(worker)
            self._emit(self._hooks_for("before_worker_boot"), worker)
        except WorkshedError as err:
            if self.is_embedded:
                raise
            logger.critical("%s", err)
            raise SystemExit(exit_code(err)) from None

    def check_worker(self, worker: Worker) -> None:
        """Refuse a worker that would fail later, or that would do nothing and still say "ready".

        Raises `UndeclaredQueueError` or `WorkshedError` for a `-Q` that no actor is on,
        `RefusedEncoderError`, `StrayActorsError`, and `WorkshedError` under gevent.
        """
        if is_gevent_active():  # type: ignore[no-untyped-call]  # dramatiq's
            raise WorkshedError(
                "gevent has patched this process, and Workshed does not run on it: no time limit "
                "would end a job. Start the worker by `workshed worker` or `dramatiq`, not by "
                "`dramatiq-gevent`, and leave out `gevent.monkey.patch_all()`"
            )
        refuse_foreign_encoder(dramatiq.Message("default", "probe", (1, "é"), {"of": [None]}, {}))
        refuse_stray_actors(self)
        for name in sorted(set(worker.consumer_whitelist or ()) - set(self.queues)):
            if name not in self.declared_queues:
                raise UndeclaredQueueError(name, self.declared_queues)
            raise WorkshedError(
                f"-Q {name}: no actor of this program is on that queue; "
                f"they are on {', '.join(sorted(self.queues)) or 'none'}"
            )

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Run the hooks in reverse order; never raises: dramatiq would count the job as failed."""
        own = self._own_after.get(signal)
        if own is not None:
            own(*args, **kwargs)
        if hooks := self._hooks_for("after_" + signal):
            self._emit(hooks, *args, **kwargs)

    def _emit(self, hooks: list[Any], *args: Any, **kwargs: Any) -> None:
        for hook in hooks:
            try:
                hook(self, *args, **kwargs)
            except Exception:
                if hook.__name__ in RAISING_HOOKS:
                    raise
                logger.exception("%s failed", hook.__qualname__)

    def _hooks_for(self, name: str) -> list[Any]:
        """Return the hooks of that name that middleware overrides, in the order they run."""
        found = self._hooks.get(name)
        if found is None:
            found = self._hooks[name] = collect_hooks(self.middleware, name)
            if name == "before_enqueue":
                self._rechecks_sends = any(isinstance(hook, TolerantHook) for hook in found)
        return found

    def _before_send(self, message: dramatiq.Message[Any], delay: int | None) -> None:
        """Run the hooks before a send, and check the message again after an application's hooks.

        Raises what `check` raises, and the `MiddlewareError` by which a hook vetoes.
        """
        for hook in self._hooks_for("before_enqueue"):  # each may veto, so no error is dropped
            hook(self, message, delay)
        if self._rechecks_sends:
            self.check_message(message)

    def check_message(self, message: dramatiq.Message[Any]) -> None:
        """Refuse a message that could not be delivered, read or run as intended.

        Raises `UndeclaredQueueError`, `InvalidOptionError`, `RefusedEncoderError`,
        `PublishRefusedError` for arguments of more than 64 KiB, or `InvalidArgumentError`, also for
        an argument that does not fit the actor's annotation.
        """
        refuse_foreign_encoder(message)
        self._check_queue(message.queue_name)
        for name, value in message.options.items():
            if problem := find_option_problem(name, value, self.added_options):
                known = (
                    name in OPTIONS or name in MESSAGE_OPTION_HINTS or name in self.added_options
                )
                hint = "" if known else did_you_mean(name, OPTIONS.keys() | self.added_options)
                raise InvalidOptionError(f"{message.actor_name}: {name} {problem}{hint}")
        options = message.options
        while piped := options.get("pipe_target"):
            self._check_queue(piped["queue_name"])
            self._check_piped(piped)
            options = piped["options"]
        self._check_priority(message)
        if self._is_current(message.actor_name, message.options):
            self._check_arguments(message.actor_name, self._arguments(message))
        else:
            refuse_inexact_value([*message.args, message.kwargs], message.actor_name)
        refuse_large_arguments(message)
        refuse_invalid_fields(message)

    def enqueue_at(self, message: dramatiq.Message[R], at: datetime) -> dramatiq.Message[R]:
        """Store a message that is due at `at`.

        Raises like `enqueue`, and `WorkshedError` for a time without a time zone.
        """
        if (own := self.open_transaction()) is not None:
            return self.send_on(own, [message], at=at)[0]
        reason = schedule.choose_reason(None, at)
        with db.transaction() as conn:
            return self.store(conn, message, delay=timedelta(), at=at, reason=reason)

    def store(
        self,
        conn: Connection,
        message: dramatiq.Message[Any],
        *,
        delay: timedelta,
        at: datetime | None,
        reason: Reason,
    ) -> dramatiq.Message[Any]:
        """Check a message and store it in the schedule; return the message for its sender."""
        message, statement = self.outbox_statement(message, delay, at, reason)
        found = conn.execute(*statement)
        row = found.fetchone() if found.description else None
        return self.finish_send(message, delay, None if row is None else row[0])

    def outbox_statement(
        self,
        message: dramatiq.Message[Any],
        delay: timedelta | None,
        at: datetime | None,
        reason: Reason,
    ) -> tuple[dramatiq.Message[Any], Statement]:
        """Check a message; return it as it is stored, and the statement that stores it.

        If the message has a key, the statement returns the key's holder; pass that to `stored`.
        Hooks get the `delay`, which is `None` for a plain send.
        """
        message, row = self.prepare_row(message, delay, at, reason)
        delay = delay or timedelta()
        claim = key_claim(message, timedelta())
        if claim is None:
            return message, schedule.insert_statement(row, delay, at)
        return message, unique.insert_with_key_statement(
            row, claim, delay, at, awaiting_key_body(message)
        )

    def outbox_statements(
        self,
        messages: Iterable[dramatiq.Message[Any]],
        delay: timedelta | None,
        at: datetime | None,
        reason: Reason,
        duplicates: list[tuple[dramatiq.Message[Any], Exception]] | None = None,
    ) -> Generator[Statement, str | None, list[dramatiq.Message[Any]]]:
        """Check all messages, and yield the statements that store them; send each one's result.

        Messages with keys are stored one by one, the others in as few statements as possible. The
        generator returns the messages for their sender. It adds to `duplicates`, if given, those
        of which it would raise `DuplicateJobError`.
        """
        ready = [self.prepare_row(message, delay, at, reason) for message in messages]
        claims = [key_claim(message, timedelta()) for message, _ in ready]
        plain = [row for (_, row), claim in zip(ready, claims, strict=True) if claim is None]
        span = delay or timedelta()
        for start in range(0, len(plain), ROWS_PER_STATEMENT):
            rows = plain[start : start + ROWS_PER_STATEMENT]
            yield schedule.insert_many_statement(rows, span, at)
        last = {
            claim.key: row
            for (_, row), claim in zip(ready, claims, strict=True)
            if claim is not None and claim.replace
        }
        # A message that a later one of this list replaces is not stored first.
        kept = [
            last[claim.key] if claim is not None and claim.replace else row
            for (_, row), claim in zip(ready, claims, strict=True)
        ]
        holders: dict[str, str | None] = {}
        for (message, row), claim, stored in zip(ready, claims, kept, strict=True):
            if claim is not None and stored is row:
                later = awaiting_key_body(message)
                holder = yield unique.insert_with_key_statement(row, claim, span, at, later)
                holders[row.message_id] = holder
        sent = []
        for (message, _), stored in zip(ready, kept, strict=True):
            try:
                sent.append(self.finish_send(message, delay, holders.get(stored.message_id)))
            except DuplicateJobError as err:
                if duplicates is None:
                    raise
                duplicates.append((message, err))
        return sent

    def send_on(
        self,
        conn: SyncConnection,
        messages: Iterable[dramatiq.Message[Any]],
        *,
        delay: int | None = None,
        at: datetime | None = None,
    ) -> list[dramatiq.Message[Any]]:
        """Store messages in a transaction of the application; `delay` in milliseconds."""
        span = timedelta(milliseconds=delay or 0)
        reason = schedule.choose_reason(span if delay else None, at)
        own = [message.copy(options={"origin": ORIGIN}) for message in messages]
        return run_on(conn, self.outbox_statements(own, span, at, reason))

    def open_transaction(self) -> SyncConnection | None:
        """Return the application's transaction; `None` in a job with `once=True`, which has one."""
        return self.find_transaction() if db.joined_connection() is None else None

    def prepare_row(
        self,
        message: dramatiq.Message[Any],
        delay: timedelta | None,
        at: datetime | None,
        reason: Reason,
    ) -> tuple[dramatiq.Message[Any], schedule.OutboxRow]:
        """Check a message; return it as it is stored, and its row."""
        self.check_message(message)
        if reason == "delayed":
            message = message.copy(options={"due": due_ms(delay or timedelta(), at)})
        self._before_send(message, whole_ms(delay))
        row = schedule.OutboxRow(
            message_id=message.message_id,
            generation=int(message.options.get("generation", 0)),
            queue=message.queue_name,
            actor=message.actor_name,
            body=encode_message(message).decode(),
            reason=reason,
        )
        return message, row

    def finish_send(
        self, message: dramatiq.Message[Any], delay: timedelta | None, holder: str | None
    ) -> dramatiq.Message[Any]:
        """Return the message for its sender, once its statement was executed.

        `holder` is the result of that statement. Raises `DuplicateJobError` for a duplicate whose
        `on_conflict` is "raise".
        """
        how = message.options.get("on_conflict")
        if holder not in (None, message.message_id) and how != "reschedule":
            key = message.options["unique_key"]
            self.count_send(message.actor_name, message.queue_name, "duplicate")
            if how == "raise":
                raise DuplicateJobError(key, str(holder))
            logger.info("not sent: job %s holds the unique key %r", holder, key)
            return message.copy(message_id=str(holder))
        self.count_send(message.actor_name, message.queue_name, "scheduled")
        self.emit_after("enqueue", message, whole_ms(delay))
        return message

    def count_send(self, actor: str, queue: str, how: SendResult, amount: int = 1) -> None:
        """Count sends; actors of other programs share the label `other`."""
        known = actor if actor in self.actors else OTHER
        meters.SENDS.add(known, queue, how, amount=amount)

    def _check_priority(self, message: dramatiq.Message[Any]) -> None:
        """Refuse a priority above the highest level of its queue."""
        priority, queue = message.options.get("broker_priority", 0), message.queue_name
        levels = self.declared_queues[queue].levels
        if priority > levels:
            has = f"has 0 to {levels}, and {levels} runs first" if levels else "has no priorities"
            raise InvalidOptionError(
                f"{message.actor_name}: broker_priority {priority}: the queue {queue!r} {has}"
            )

    def _is_current(self, name: str, options: Mapping[str, Any]) -> bool:
        """Return whether arguments have the actor's own version; a worker upgrades others first."""
        arguments = getattr(self.actors.get(name), "arguments", None)
        return arguments is None or arguments.version == options.get(VERSION, FIRST_VERSION)

    def _check_arguments(self, actor: str, arguments: dict[str, object]) -> None:
        """Refuse arguments that JSON would change, or that do not fit the actor's annotations."""
        checks = self._checks.get(actor, {})
        for name, value in arguments.items():
            if value is PIPED_RESULT:
                continue
            if strict_json.find_inexact(value, name):  # most are exact, and need no text
                refuse_inexact_value(value, f"{actor}: argument {name}")
            if (check := checks.get(name)) is not None and (problem := check(value)):
                field = name + problem.path
                raise ArgumentTypeError(actor, field, problem.given, problem.expected)

    def _check_piped(self, piped: dict[str, Any]) -> None:
        """Refuse a later step of a pipeline that its arguments and the result do not fit."""
        actor, signature = self.actors.get(piped["actor_name"]), None
        if actor is not None:
            signature = self._signatures.get(actor.actor_name)
        if actor is None or signature is None:  # it belongs to another program
            return
        if not self._is_current(actor.actor_name, piped["options"]):
            return
        ignores = piped["options"].get("pipe_ignore", actor.options.get("pipe_ignore", False))
        result = () if ignores else (PIPED_RESULT,)
        try:
            bound = signature.bind(*piped["args"], *result, **piped["kwargs"])
        except TypeError as err:
            after = "" if ignores else ", after the result of the step before is appended"
            raise InvalidArgumentError(f"{actor.actor_name}{signature}{after}: {err}") from None
        self._check_arguments(actor.actor_name, unpack_arguments(signature, bound.arguments))

    def _check_queue(self, name: str) -> None:
        if name not in self.declared_queues:
            raise UndeclaredQueueError(name, self.declared_queues)

    def _arguments(self, message: dramatiq.Message[Any]) -> dict[str, object]:
        """Return the arguments by parameter name; by number for an actor of another program."""
        signature = self._signatures.get(message.actor_name)
        if signature is None:
            return {f"number {i}": arg for i, arg in enumerate(message.args)} | message.kwargs
        names = self._parameter_names.get(message.actor_name)
        if names is not None and not message.kwargs and len(names) == len(message.args):
            return dict(zip(names, message.args))  # noqa: B905 -- compared above; `bind` and `strict` take longer
        try:
            bound = signature.bind(*message.args, **message.kwargs)
        except TypeError as err:
            raise InvalidArgumentError(f"{message.actor_name}{signature}: {err}") from None
        return unpack_arguments(signature, bound.arguments)


def describe_actors(broker: WorkshedBroker) -> list[KnownActor]:
    """Describe a program's actors for processes that do not import them."""
    return [
        KnownActor(
            name=actor.actor_name,
            queue=actor.queue_name,
            has_key=(rule := actor.options.get("unique")) is not None and rule.locks_on_enqueue,
            parameters=positional_parameters(actor.fn),
            redact=actor.options.get("redact", ()),
            arguments=describe_arguments(actor.fn, getattr(actor, "arguments", None)),
            arguments_version=actor_version(actor),
        )
        for actor in broker.actors.values()
    ]


def due_ms(delay: timedelta, at: datetime | None) -> int:
    """Return when a message is due, in Unix ms like its timestamp."""
    due = time.time() + delay.total_seconds() if at is None else at.timestamp()
    return max(0, int(due * 1000))


def whole_ms(delay: timedelta | None) -> int | None:
    """Return a delay in whole milliseconds, as dramatiq has it."""
    return None if delay is None else delay // timedelta(milliseconds=1)


def unpack_arguments(signature: inspect.Signature, arguments: dict[str, Any]) -> dict[str, object]:
    """Spread `*args` and `**kwargs` into single arguments."""
    found: dict[str, object] = {}
    for name, value in arguments.items():
        match signature.parameters[name].kind:
            case inspect.Parameter.VAR_POSITIONAL:
                found |= {f"{name}[{i}]": item for i, item in enumerate(value)}
            case inspect.Parameter.VAR_KEYWORD:
                found |= value
            case _:
                found[name] = value
    return found
