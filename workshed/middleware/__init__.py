"""What happens around every job: one concern per file."""

from workshed.middleware.composition.batches import Batches
from workshed.middleware.composition.callbacks import Callbacks
from workshed.middleware.composition.groups import Groups
from workshed.middleware.composition.parent import Lineage
from workshed.middleware.composition.results import PostgresResults, Results
from workshed.middleware.concurrency.limits import Limits
from workshed.middleware.concurrency.rate_limiters import PostgresLimiters
from workshed.middleware.concurrency.uniqueness import Uniqueness
from workshed.middleware.delivery.cancellation import Cancel, cancelled
from workshed.middleware.delivery.deduplication import Fence
from workshed.middleware.delivery.once import Once
from workshed.middleware.django_connections import DjangoConnections
from workshed.middleware.job import (
    AloneError,
    ConcludedError,
    CopyError,
    Job,
    Outcome,
    Settling,
    TurnLostError,
)
from workshed.middleware.observability.history import Runs
from workshed.middleware.observability.log_context import LogContext
from workshed.middleware.observability.metrics import Metrics
from workshed.middleware.observability.redaction import Redaction
from workshed.middleware.observability.sentry import Sentry
from workshed.middleware.observer import Observer
from workshed.middleware.options.limit import Limit
from workshed.middleware.options.retry_on import RetryOn
from workshed.middleware.options.unique import Unique
from workshed.middleware.periodic.periodic import Periodic
from workshed.middleware.retrying.discard import Discard
from workshed.middleware.retrying.expiry import Expiry
from workshed.middleware.retrying.policy import INTERRUPTED, Policy, verdict
from workshed.middleware.retrying.retries import Retries
from workshed.middleware.runtime.database_pool import DatabasePool
from workshed.middleware.runtime.event_loop import EventLoop
from workshed.middleware.runtime.parent_watch import Lifeline
from workshed.middleware.runtime.time_limit import Deadline, HardTimeLimitExceeded
from workshed.middleware.runtime.unsupported_options import Stock

__all__ = [
    "INTERRUPTED",
    "AloneError",
    "Batches",
    "Callbacks",
    "Cancel",
    "ConcludedError",
    "CopyError",
    "DatabasePool",
    "Deadline",
    "Discard",
    "DjangoConnections",
    "EventLoop",
    "Expiry",
    "Fence",
    "Groups",
    "HardTimeLimitExceeded",
    "Job",
    "Lifeline",
    "Limit",
    "Limits",
    "Lineage",
    "LogContext",
    "Metrics",
    "Observer",
    "Once",
    "Outcome",
    "Periodic",
    "Policy",
    "PostgresLimiters",
    "PostgresResults",
    "Redaction",
    "Results",
    "Retries",
    "RetryOn",
    "Runs",
    "Sentry",
    "Settling",
    "Stock",
    "TurnLostError",
    "Unique",
    "Uniqueness",
    "cancelled",
    "verdict",
]
