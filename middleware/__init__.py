"""What happens around every job: one concern per file."""

from middleware.database_pool import DatabasePool
from middleware.deadline import Deadline
from middleware.discard import Discard
from middleware.fence import Fence
from middleware.job import CopyError, Job, Outcome, Settling
from middleware.lifeline import Lifeline
from middleware.log_context import LogContext
from middleware.policy import Policy, RetryOn, verdict
from middleware.retries import Retries

__all__ = [
    "CopyError",
    "DatabasePool",
    "Deadline",
    "Discard",
    "Fence",
    "Job",
    "Lifeline",
    "LogContext",
    "Outcome",
    "Policy",
    "Retries",
    "RetryOn",
    "Settling",
    "verdict",
]
