"""Middleware around every job of this application, in order: the library's and its own.

`before_*` hooks and what writes an outcome run downwards, `after_*` hooks upwards.
"""

from dramatiq.middleware import Middleware

from middleware.deleted_records import DeletedRecords
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
from workshed.transport.sidecars.forks import SidecarFork

CHAIN: tuple[type[Middleware] | Middleware, ...] = (
    DatabasePool,  # first, because all below use it
    UnsupportedOptions,  # refuses at declaration, before anything wraps the function
    Redaction,  # before anything wraps the function, because it reads the parameters
    DjangoConnections,  # its wrapper of an async actor runs on the loop
    EventLoop,  # innermost of the wrappers, so that all others see a function
    ParentJob,  # adds the sending job to each message
    LogContext,  # above the rest, so that their log lines name the job
    Spans,  # its span starts before other observers begin, and ends after them
    ShopSentry,  # its scope opens before other observers begin, and closes after them
    Metrics,  # observes
    Promptness,  # observes
    Cancellation,  # before deduplication: it writes nothing, and may replace the outcome for all
    Deduplication,  # before anything is written, because a copy writes nothing
    Expiry,  # below deduplication: a copy of a finished job is a duplicate, however late
    Results,  # its wrapper is inside those of the time limit and `OncePerMessage`
    Callbacks,  # inside both, too: a result that cannot be passed on fails the job
    TimeLimit,  # wraps the actor's function; its hook only notes the limit
    OncePerMessage,  # outside the time limit, which must not interrupt the commit
    Uniqueness,  # below what may end a job without its lock
    Limits,  # last of the checks, because a slot of a window is spent once it is taken
    Periodic,  # below what adds options to messages, which it declares
    DeletedRecords,  # the outermost wrapper: the errors that it sees were rolled back
    Retries,  # stores what follows a failure, whichever of the above caused it
    DiscardRecorder,  # after `Retries`, whose outcome it records
    Groups,  # counts the outcomes of members
    Batches,  # last that writes: others wait for its locks until the commit
    History,  # records the outcome that all above have decided
    SidecarFork,  # under plain `dramatiq`: a process with a relay, metrics and probes
    ParentWatch,  # last: `after_*` run upwards, and it watches from the start
)
"""The chain that `brokers.app` names."""
