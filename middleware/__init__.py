"""What happens around every job of this application, in order: the library's and its own.

`before_*` and what writes an outcome run downwards, `after_*` upwards.
"""

from dramatiq.middleware import Middleware

from middleware.discard import DiscardGone
from middleware.metrics import Promptness
from middleware.sentry import ShopSentry
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
    TimeLimit,
    Uniqueness,
    UnsupportedOptions,
)
from workshed.transport.build import Spans
from workshed.transport.sidecars.metrics_fork import MetricsFork
from workshed.transport.sidecars.relay_fork import RelayFork

CHAIN: tuple[type[Middleware] | Middleware, ...] = (
    DatabasePool,  # first: all below use it
    UnsupportedOptions,  # refuses at declaration, before anything wraps the function
    Redaction,  # before anything wraps the function: its parameters are read
    DjangoConnections,  # what it puts around an async actor runs on the loop
    EventLoop,  # innermost of the wrappers: all others see a function
    ParentJob,  # what a job sends knows of it
    LogContext,  # above the rest, so that what they log names the job
    Spans,  # its span is there before other observers begin, and after they end
    ShopSentry,  # its scope is there before other observers begin, and after they end
    Metrics,  # observes
    Promptness,  # observes
    Cancellation,  # before deduplication: it writes nothing, and may change what all below write
    Deduplication,  # before anything is written: a copy writes nothing
    Expiry,  # below deduplication: a duplicate is one, however late
    Results,  # within the limit and `OncePerMessage`, as the next
    Callbacks,  # within both, too: a result that cannot be handed on is a failure
    TimeLimit,  # wraps the actor's function; its hook only notes the limit
    OncePerMessage,  # around the limit: none strikes in the commit
    Uniqueness,  # below what may end a job without its lock
    Limits,  # asked last: what a start takes of a window is spent
    Periodic,  # below what adds options to messages, which it notes
    DiscardGone,  # the outer wrapper: what it sees was rolled back
    Retries,  # decides on failures, of which all above may be the cause
    DiscardRecorder,  # its outcome is that of `Retries`, which it follows
    Groups,  # counts the outcomes of members
    Batches,  # last of those that write: what it locks, others wait for until the commit
    History,  # keeps the history of what all above have decided
    RelayFork,  # starts a relay process
    MetricsFork,  # starts a process that serves the metrics
    ParentWatch,  # last: `after_*` run upwards, and it watches from the start
)
"""The chain that `brokers.app` names."""
