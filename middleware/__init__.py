"""What happens around every job: one concern per file."""

from middleware.batches import Batches
from middleware.callbacks import Callbacks
from middleware.cancel import Cancel, cancelled
from middleware.database_pool import DatabasePool
from middleware.deadline import Deadline, HardTimeLimitExceeded
from middleware.discard import Discard
from middleware.django_connections import DjangoConnections
from middleware.event_loop import EventLoop
from middleware.expiry import Expiry
from middleware.fence import Fence
from middleware.groups import Groups
from middleware.job import (
    AloneError,
    ConcludedError,
    CopyError,
    Job,
    Label,
    Outcome,
    Settling,
    TurnLostError,
)
from middleware.lifeline import Lifeline
from middleware.limit import Limit
from middleware.limiters import PostgresLimiters
from middleware.limits import Limits
from middleware.lineage import Lineage
from middleware.log_context import LogContext
from middleware.metrics import Metrics
from middleware.observer import Observer
from middleware.once import Once
from middleware.policy import INTERRUPTED, Policy, verdict
from middleware.recurring import Recurring
from middleware.redaction import Redaction
from middleware.results import PostgresResults, Results
from middleware.retries import Retries
from middleware.rules import RetryOn
from middleware.runs import Runs
from middleware.sentry import Sentry
from middleware.stock import Stock
from middleware.unique import Unique
from middleware.uniqueness import Uniqueness

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
    "Label",
    "Lifeline",
    "Limit",
    "Limits",
    "Lineage",
    "LogContext",
    "Metrics",
    "Observer",
    "Once",
    "Outcome",
    "Policy",
    "PostgresLimiters",
    "PostgresResults",
    "Recurring",
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
