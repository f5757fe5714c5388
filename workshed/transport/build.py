"""The composition root: which broker, and the order of what happens around every job."""

import logging
import sys
from functools import cache
from pathlib import Path

import dramatiq
from dramatiq.middleware import Middleware

from workshed.app import app
from workshed.errors import SettingsError, WorkshedError
from workshed.middleware import (
    Batches,
    Callbacks,
    Cancel,
    DatabasePool,
    Deadline,
    Discard,
    DjangoConnections,
    EventLoop,
    Expiry,
    Fence,
    Groups,
    Lifeline,
    Limits,
    Lineage,
    LogContext,
    Metrics,
    Once,
    Recurring,
    Redaction,
    Results,
    Retries,
    Runs,
    Sentry,
    Stock,
    Uniqueness,
)
from workshed.queues import Queue, weighted
from workshed.settings import Settings, settings
from workshed.transport.amqp import url as address
from workshed.transport.errors import exit_code
from workshed.transport.messages.envelope import StrictJson
from workshed.transport.rabbitmq import RabbitMQ
from workshed.transport.sidecars.metrics_fork import MetricsFork, measure
from workshed.transport.sidecars.relay_fork import RelayFork
from workshed.transport.strays import refuse_strays
from workshed.transport.stub import Stub
from workshed.transport.worker.dramatiq_master import stay_until_read

logger = logging.getLogger(__name__)

STUB = "stub://"
OTHERS = {"dramatiq", "periodiq"}
"""Programs of others that import actors; whatever that raises, they end with 1."""


@cache
def broker() -> RabbitMQ | Stub:
    """Build the broker of this process from its settings, and tell dramatiq; opens nothing.

    Raises `SettingsError`, or `StrayActorsError` where actors were declared on another broker
    before; in a program of others `SystemExit`, with the documented code.
    """
    stay_until_read()
    try:
        refuse_strays()
        config = settings()
        found = build(config)
    except WorkshedError as err:
        if program() not in OTHERS:
            raise
        logger.critical("%s", err)
        raise SystemExit(exit_code(err)) from None
    measure(config)
    dramatiq.set_encoder(StrictJson())
    dramatiq.set_broker(found)
    return found


def program() -> str:
    """Name what was started: `periodiq`, or `dramatiq`, also as `python -m dramatiq`."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem


def build(config: Settings, queues: dict[str, Queue] | None = None) -> RabbitMQ | Stub:
    """Put a broker together; `queues` are those of another broker, to which more may be added."""
    if queues is None:
        queues = weighted(app().queues, config.queues, config.queue_prefix)
    chain = middleware(config)
    urls = [url.strip() for url in config.broker_url.get_secret_value().split(";")]
    if STUB in urls:
        return Stub(queues, chain)
    for url in urls:
        address.parameters(url, "check")  # a bad one is refused now, and not by the first send
    return RabbitMQ(urls, queues, chain, config)


def middleware(config: Settings) -> list[Middleware]:
    """Return the chain: `before_*` and `settle` run downwards, `after_*` upwards."""
    return [
        DatabasePool(),  # first: all below use it
        Stock(),  # refuses at declaration, before anything wraps the function
        Redaction(),  # before anything wraps the function: its parameters are read
        DjangoConnections(),  # what it puts around an async actor runs on the loop
        EventLoop(),  # innermost of the wrappers: all others see a function
        Lineage(),
        LogContext(),  # above the rest, so that what they log names the job
        *tracing(config),  # its span is there before other observers begin, and after they end
        Sentry(config),  # its scope is there before other observers begin, and after they end
        Metrics(),  # observes
        Cancel(),  # before the fence: it writes nothing, and may change what all below write
        Fence(config.fence_retention),  # before anything is written: a copy writes nothing
        Expiry(),  # below the fence: what has its outcome is absorbed, however late
        Results(),  # within the limit and `Once`, as the next
        Callbacks(),  # within the limit and `Once`: a result that cannot be handed on is a failure
        Deadline(),  # wraps the actor's function; its hook only notes the limit
        Once(),  # around the limit: none strikes in the commit
        Uniqueness(),
        Limits(),  # asked last: what a start takes of a window is spent
        Recurring(),  # below what adds options to messages, which it notes
        Retries(config.max_retries, config.not_visible_for, config.replica_lag),
        Discard(),
        Groups(),
        Batches(),  # last of those that write: what it locks, others wait for until the commit
        Runs(config.runs, config.release),
        RelayFork(wanted=config.relay_fork),
        MetricsFork(wanted=config.shared_folder is None and config.shows),
        Lifeline(),  # last: `after_*` run upwards, and it watches from the start
    ]


def tracing(config: Settings) -> list[Middleware]:
    """Return what makes spans, where that is wanted; else nothing of it is imported.

    Raises `SettingsError` where it is not installed.
    """
    if not config.tracing:
        return []
    try:
        from workshed.middleware.observability.tracing import Tracing  # noqa: PLC0415 -- an extra
    except ImportError as err:
        raise SettingsError(
            "WORKSHED_TRACING is on, but OpenTelemetry is missing: pip install 'workshed[otel]'"
        ) from err
    return [Tracing(config)]
