"""The composition root: which broker is built, and the order of the middleware around each job."""

import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.middleware import Middleware

from workshed.app import get_app, load_object
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
from workshed.third_party_programs.import_errors import exit_third_party_program
from workshed.transport.amqp import url as address
from workshed.transport.errors import exit_code
from workshed.transport.messages.envelope import StrictJson
from workshed.transport.rabbitmq import RabbitMQBroker
from workshed.transport.sidecars.forks import SidecarFork, enable_metrics
from workshed.transport.strays import refuse_stray_actors

Entry = type[Middleware] | Middleware
"""A class, or a middleware. A class of the library is instantiated from the settings, and so is a
subclass of it, which must take the same arguments."""

if TYPE_CHECKING:
    from workshed.transport.postgresql import PostgreSQLBroker
    from workshed.transport.stub import Stub

STUB_URL = "stub://"
POSTGRESQL_URL = "postgresql:"
"""Jobs are taken from the database of `WORKSHED_DATABASE_URL`, without RabbitMQ."""


@cache
def get_broker() -> "RabbitMQBroker | PostgreSQLBroker | Stub":
    """Build this process's broker from its settings and set it in dramatiq; opens no connection.

    Raises `SettingsError`, or `StrayActorsError` if actors were declared on another broker before.
    In third-party programs, raises `SystemExit` with the documented code instead.
    """
    if "dramatiq.cli" in sys.modules:  # a master or one of its processes
        from workshed.third_party_programs.dramatiq_master import flush_stderr_before_exit  # noqa: PLC0415 -- loads multiprocessing

        flush_stderr_before_exit()
    try:
        refuse_stray_actors()
        config = settings()
        if (named := get_app().settings) is not None:
            settings_of(load_object(named))  # a wrong value ends any process here, with exit code 2
        found = build_broker(config)
    except WorkshedError as err:
        exit_third_party_program(err, exit_code(err))
        raise
    enable_metrics(config)
    dramatiq.set_encoder(StrictJson())
    dramatiq.set_broker(found)
    return found


def build_broker(
    config: Settings, queues: dict[str, Queue] | None = None
) -> "RabbitMQBroker | PostgreSQLBroker | Stub":
    """Build a broker; pass `queues` to share them, and those added later, with another broker."""
    if queues is None:
        queues = weigh_queues(get_app().queues, config.queues, config.queue_prefix)
    chain = build_middleware(config)
    urls = [url.strip() for url in config.broker_url.get_secret_value().split(";")]
    if STUB_URL in urls:
        from workshed.transport.stub import Stub  # noqa: PLC0415 -- only tests need it

        return Stub(queues, chain)
    if POSTGRESQL_URL in urls:
        if len(urls) > 1:
            raise SettingsError(f"WORKSHED_BROKER_URL: write {POSTGRESQL_URL} alone")
        from workshed.transport.postgresql import PostgreSQLBroker  # noqa: PLC0415 -- one of two

        return PostgreSQLBroker(queues, chain, config)
    for url in urls:
        address.connection_parameters(url, "check")  # refuses a bad URL now, not at the first send
    return RabbitMQBroker(urls, queues, chain, config)


def build_middleware(config: Settings) -> list[Middleware]:
    """Return the application's middleware chain, or `CHAIN`.

    Raises `SettingsError` if the application's chain lacks middleware that jobs depend on, or has
    it in another order.
    """
    named = get_app().middleware
    entries: Sequence[Entry] = CHAIN if named is None else load_object(named)
    chain = [
        made for made in (make_middleware(entry, config) for entry in entries) if made is not None
    ]
    if named is not None:
        check_chain(chain, middleware=named)
    return chain


def make_middleware(entry: Entry, config: Settings) -> Middleware | None:
    """Return the middleware of an entry, or `None` if the settings switch it off."""
    if isinstance(entry, Middleware):
        return entry
    known = next((kind for kind in entry.__mro__ if kind in FACTORIES), None)
    return entry() if known is None else FACTORIES[known](entry, config)


def check_chain(chain: list[Middleware], *, middleware: str) -> None:
    """Raise `SettingsError` if a chain lacks required middleware, or has it in another order."""
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


def _make_tracing(kind: type[Middleware], config: Settings) -> Middleware | None:
    """Return the tracing middleware if tracing is on; otherwise import nothing of it.

    Raises `SettingsError` if OpenTelemetry is not installed, or for a subclass of `Spans`.
    """
    if kind is not Spans:
        raise SettingsError(
            f"{kind.__name__}: `Spans` cannot be replaced; put your middleware next to it"
        )
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
    """The place of `Tracing` in a chain, which it takes if tracing is on."""


CHAIN: tuple[type[Middleware], ...] = (
    DatabasePool,  # first: all below use it
    UnsupportedOptions,  # refuses at declaration, before anything wraps the function
    Redaction,  # reads the function's parameters, so before anything wraps it
    DjangoConnections,  # its wrapper of an async actor runs on the event loop
    EventLoop,  # innermost of the other wrappers, which then see a plain function
    ParentJob,
    LogContext,  # above the rest, so that what they log names the job
    Spans,  # its span begins before other observers, and ends after them
    Sentry,  # its scope begins before other observers, and ends after them
    Metrics,  # observes
    Cancellation,  # before deduplication: it writes nothing, and may change what all below write
    Deduplication,  # before anything is written: a duplicate writes nothing
    Expiry,  # below deduplication: a duplicate stays one, however late it is
    Results,  # within the time limit and `OncePerMessage`, like the next
    Callbacks,  # within both, too: a result that cannot be passed on is a failure
    TimeLimit,  # wraps the actor's function; its hook only notes the limit
    OncePerMessage,  # around the time limit, which must not strike in the commit
    Uniqueness,
    Limits,  # checked last, because a start uses up its share of a window
    Periodic,  # below middleware that adds options to messages, because it stores the options
    Retries,
    DiscardRecorder,
    Groups,
    Batches,  # last of those that write, because others wait for its row locks until the commit
    History,
    SidecarFork,
    ParentWatch,  # last: `after_*` run upwards, and it watches from the start
)
"""The library's chain: `before_*` and `on_outcome` run from first to last, `after_*` in reverse."""

OPTIONAL: frozenset[type[Middleware]] = frozenset(
    {DjangoConnections, LogContext, Spans, Sentry, Metrics, History}
)
"""Middleware that only observes or serves one framework; an application may leave it out."""

FACTORIES: dict[type[Middleware], Callable[[Any, Settings], Middleware | None]] = {
    Spans: _make_tracing,
    Sentry: lambda kind, config: kind(config),
    Deduplication: lambda kind, config: kind(config.deduplication_retention),
    Retries: lambda kind, config: kind(
        config.max_retries, config.record_visibility_grace, config.replica_lag
    ),
    History: lambda kind, config: kind(config.history, config.release),
    SidecarFork: lambda kind, config: kind(
        enabled=config.relay_fork or (config.shared_folder is None and config.has_endpoints)
    ),
}
"""How to instantiate classes that need settings, and their subclasses."""
