"""Metrics of this service: whether jobs start as soon as their queue promises."""

from workshed.metrics import Counter
from workshed.middleware.job import Job
from workshed.middleware.observer import Observer

START_TARGET_S = {"critical": 5, "emails": 30, "default": 60, "images": 60}
"""Seconds from publish to start, by queue, where people wait. Other queues promise nothing."""

STARTS = Counter(
    "job_starts",
    "First starts of jobs, by whether they came within the time that their queue promises.",
    ("queue", "in_time"),
    namespace="shop",
)


class Promptness(Observer):
    """Count the first start of each job by whether it was in time."""

    def on_start(self, job: Job) -> None:
        """Count the start; a retried or rescheduled job has waited on purpose."""
        promised_s = START_TARGET_S.get(job.message.queue_name)
        if promised_s is None or job.generation or job.queue_wait_s is None:
            return
        STARTS.add(job.message.queue_name, "yes" if job.queue_wait_s <= promised_s else "no")
