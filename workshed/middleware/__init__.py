"""Middleware that runs around every job: one concern per file."""

from workshed.middleware.composition.batches import Batches
from workshed.middleware.composition.callbacks import Callbacks
from workshed.middleware.composition.groups import Groups
from workshed.middleware.composition.parent import ParentJob
from workshed.middleware.composition.results import PostgresResults, Results
from workshed.middleware.concurrency.limits import Limits
from workshed.middleware.concurrency.rate_limiters import PostgresRateLimiterBackend
from workshed.middleware.concurrency.uniqueness import Uniqueness
from workshed.middleware.delivery.cancellation import Cancellation, cancelled_outcome
from workshed.middleware.delivery.deduplication import Deduplication
from workshed.middleware.delivery.once import OncePerMessage
from workshed.middleware.django_connections import DjangoConnections
from workshed.middleware.job import (
    SUCCEEDED,
    DuplicateDelivery,
    Job,
    Outcome,
    OutcomeKnown,
    OutcomeMiddleware,
    RunIsolated,
    RunLockLost,
)
from workshed.middleware.observability.history import History
from workshed.middleware.observability.log_context import LogContext
from workshed.middleware.observability.metrics import Metrics
from workshed.middleware.observability.redaction import Redaction
from workshed.middleware.observability.sentry import Sentry
from workshed.middleware.observer import Observer
from workshed.middleware.options.actor_options import ActorOptions, AroundPerform, MessageOptions
from workshed.middleware.options.limit import Limit
from workshed.middleware.options.retry_on import RetryOn
from workshed.middleware.options.unique import Unique
from workshed.middleware.periodic.periodic import Periodic
from workshed.middleware.retrying.discard import DiscardRecorder
from workshed.middleware.retrying.expiry import Expiry
from workshed.middleware.retrying.policy import INTERRUPTED, Policy, decide_outcome
from workshed.middleware.retrying.retries import Retries
from workshed.middleware.runtime.database_pool import DatabasePool
from workshed.middleware.runtime.event_loop import EventLoop
from workshed.middleware.runtime.parent_watch import ParentWatch
from workshed.middleware.runtime.time_limit import HardTimeLimitExceeded, TimeLimit
from workshed.middleware.runtime.unsupported_options import UnsupportedOptions

__all__ = [
    "INTERRUPTED",
    "SUCCEEDED",
    "ActorOptions",
    "AroundPerform",
    "Batches",
    "Callbacks",
    "Cancellation",
    "DatabasePool",
    "Deduplication",
    "DiscardRecorder",
    "DjangoConnections",
    "DuplicateDelivery",
    "EventLoop",
    "Expiry",
    "Groups",
    "HardTimeLimitExceeded",
    "History",
    "Job",
    "Limit",
    "Limits",
    "LogContext",
    "MessageOptions",
    "Metrics",
    "Observer",
    "OncePerMessage",
    "Outcome",
    "OutcomeKnown",
    "OutcomeMiddleware",
    "ParentJob",
    "ParentWatch",
    "Periodic",
    "Policy",
    "PostgresRateLimiterBackend",
    "PostgresResults",
    "Redaction",
    "Results",
    "Retries",
    "RetryOn",
    "RunIsolated",
    "RunLockLost",
    "Sentry",
    "TimeLimit",
    "Unique",
    "Uniqueness",
    "UnsupportedOptions",
    "cancelled_outcome",
    "decide_outcome",
]
