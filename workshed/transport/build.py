"""The composition root: which broker, and the order of what happens around every job."""

import logging
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware

from workshed.app import app, load
from workshed.errors import SettingsError, WorkshedError
from workshed.middleware import (
    Batches,
    Callbacks,
    Cancellation,
    DatabasePool,
    Deduplication,
    DiscardRecorder,
    DjangoConnections,
    EventLoop,
    Expiry,
    Groups,
    History,
    Limits,
    LogContext,
    Metrics,
    OncePerMessage,
    ParentJob,
    ParentWatch,
    Periodic,
    Redaction,
    Results,
    Retries,
    Sentry,
    TimeLimit,
    Uniqueness,
    UnsupportedOptions,
)
from workshed.queues import Queue, weigh_queues
from workshed.settings import Settings, settings, settings_of
from workshed.transport.amqp import url as address
from workshed.transport.errors import exit_code
from workshed.transport.messages.envelope import StrictJson
from workshed.transport.rabbitmq import RabbitMQBroker
from workshed.transport.sidecars.metrics_fork import MetricsFork, enable_metrics
from workshed.transport.sidecars.relay_fork import RelayFork
from workshed.transport.strays import refuse_strays
from workshed.transport.stub import Stub
from workshed.transport.worker.dramatiq_master import stay_until_read

logger = logging.getLogger(__name__)

Entry = type[Middleware] | Middleware
"""A class, or a middleware. A class of the library is made from the settings, and so is one that
inherits from it and takes the same arguments."""

STUB = "stub://"
OTHERS = {"dramatiq", "periodiq"}
"""Programs of others that import actors; whatever that raises, they end with 1."""


@cache
def broker() -> RabbitMQBroker | Stub:
    """Build the broker of this process from its settings, and tell dramatiq; opens nothing.

    Raises `SettingsError`, or `StrayActorsError` where actors were declared on another broker
    before; in a program of others `SystemExit`, with the documented code.
    """
    stay_until_read()
    try:
        refuse_strays()
        config = settings()
        if (named := app().settings) is not None:
            settings_of(load(named))  # a wrong value ends any process here, and with 2
        found = build_broker(config)
    except WorkshedError as err:
        if program_name() not in OTHERS:
            raise
        logger.critical("%s", err)
        raise SystemExit(exit_code(err)) from None
    enable_metrics(config)
    dramatiq.set_encoder(StrictJson())
    dramatiq.set_broker(found)
    return found


def program_name() -> str:
    """Name what was started: `periodiq`, or `dramatiq`, also as `python -m dramatiq`."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem


def build_broker(config: Settings, queues: dict[str, Queue] | None = None) -> RabbitMQBroker | Stub:
    """Put a broker together; `queues` are those of another broker, to which more may be added."""
    if queues is None:
        queues = weigh_queues(app().queues, config.queues, config.queue_prefix)
    chain = middleware(config)
    urls = [url.strip() for url in config.broker_url.get_secret_value().split(";")]
    if STUB in urls:
        return Stub(queues, chain)
    for url in urls:
        address.connection_parameters(
            url, "check"
        )  # a bad one is refused now, and not by the first send
    return RabbitMQBroker(urls, queues, chain, config)


def middleware(config: Settings) -> list[Middleware]:
    """Return the chain of the application, or `CHAIN`.

    Raises `SettingsError` for an application's chain that lacks what jobs depend on, or has it in
    another order.
    """
    named = app().middleware
    entries: Sequence[Entry] = CHAIN if named is None else load(named)
    chain = [
        made for made in (make_middleware(entry, config) for entry in entries) if made is not None
    ]
    if named is not None:
        check_chain(chain, middleware=named)
    return chain


def make_middleware(entry: Entry, config: Settings) -> Middleware | None:
    """Return the middleware of an entry; `None` for one that the settings switch off."""
    if isinstance(entry, Middleware):
        return entry
    known = next((kind for kind in entry.__mro__ if kind in MAKERS), None)
    return entry() if known is None else MAKERS[known](entry, config)


def check_chain(chain: list[Middleware], *, middleware: str) -> None:
    """Raise `SettingsError` for a chain without what is not optional, or in another order."""
    ours = [entry for entry in CHAIN if entry not in OPTIONAL]
    there = [entry for one in chain for entry in ours if isinstance(one, entry)]
    said = f"the chain {middleware} of the application"
    if missing := [entry.__name__ for entry in ours if entry not in there]:
        raise SettingsError(
            f"{said} lacks {', '.join(missing)}; see workshed.transport.build.CHAIN"
        )
    if there != ours:
        first = next(one for one, usual in zip_longest(there, ours) if one is not usual)
        raise SettingsError(
            f"{said} has {first.__name__} twice, or in another place than in "
            "workshed.transport.build.CHAIN"
        )


def _tracing(kind: type[Middleware], config: Settings) -> Middleware | None:
    """Return what makes spans, where that is wanted; else nothing of it is imported.

    Raises `SettingsError` where it is not installed, or for a class that inherits from `Spans`.
    """
    if kind is not Spans:
        raise SettingsError(f"{kind.__name__}: `Spans` cannot be replaced; put yours beside it")
    if not config.tracing:
        return None
    try:
        from workshed.middleware.observability.tracing import Tracing  # noqa: PLC0415 -- an extra
    except ImportError as err:
        raise SettingsError(
            "WORKSHED_TRACING is on, but OpenTelemetry is missing: pip install 'workshed[otel]'"
        ) from err
    return Tracing(config)


class Spans(Middleware):
    """The place of `Tracing` in a chain; it takes it if tracing is on."""


CHAIN: tuple[type[Middleware], ...] = (
    DatabasePool,  # first: all below use it
    UnsupportedOptions,  # refuses at declaration, before anything wraps the function
    Redaction,  # before anything wraps the function: its parameters are read
    DjangoConnections,  # what it puts around an async actor runs on the loop
    EventLoop,  # innermost of the wrappers: all others see a function
    ParentJob,
    LogContext,  # above the rest, so that what they log names the job
    Spans,  # its span is there before other observers begin, and after they end
    Sentry,  # its scope is there before other observers begin, and after they end
    Metrics,  # observes
    Cancellation,  # before deduplication: it writes nothing, and may change what all below write
    Deduplication,  # before anything is written: a copy writes nothing
    Expiry,  # below deduplication: a duplicate is one, however late
    Results,  # within the limit and `OncePerMessage`, as the next
    Callbacks,  # within both, too: a result that cannot be handed on is a failure
    TimeLimit,  # wraps the actor's function; its hook only notes the limit
    OncePerMessage,  # around the limit: none strikes in the commit
    Uniqueness,
    Limits,  # asked last: what a start takes of a window is spent
    Periodic,  # below what adds options to messages, which it notes
    Retries,
    DiscardRecorder,
    Groups,
    Batches,  # last of those that write: what it locks, others wait for until the commit
    History,
    RelayFork,
    MetricsFork,
    ParentWatch,  # last: `after_*` run upwards, and it watches from the start
)
"""The chain of the library: `before_*` and `settle` run downwards, `after_*` upwards."""

OPTIONAL: frozenset[type[Middleware]] = frozenset(
    {DjangoConnections, LogContext, Spans, Sentry, Metrics, History}
)
"""What only observes, or is for one framework: an application's chain may leave it out."""

MAKERS: dict[type[Middleware], Callable[[Any, Settings], Middleware | None]] = {
    Spans: _tracing,
    Sentry: lambda kind, config: kind(config),
    Deduplication: lambda kind, config: kind(config.deduplication_retention),
    Retries: lambda kind, config: kind(
        config.max_retries, config.record_visibility_grace, config.replica_lag
    ),
    History: lambda kind, config: kind(config.history, config.release),
    RelayFork: lambda kind, config: kind(wanted=config.relay_fork),
    MetricsFork: lambda kind, config: kind(wanted=config.shared_folder is None and config.shows),
}
"""How those are made that need settings, and what inherits from them."""
