"""What this service measures itself: whether jobs start as soon as their queue promises."""

from workshed.metrics.meter import Counter
from workshed.middleware.job import Job
from workshed.middleware.observer import Observer

PROMISED_S = {"critical": 5, "emails": 30, "default": 60, "images": 60}
"""Seconds from the publish to the start, by queue: people wait for these. Others promise none."""

STARTS = Counter(
    "job_starts",
    "First attempts of jobs, by whether they began within the time that their queue promises.",
    ("queue", "in_time"),
    namespace="shop",
)


class Promptness(Observer):
    """Count first attempts by whether they began in time: what an alert on late mails looks at."""

    def began(self, job: Job) -> None:
        """Count it; a retry has waited on purpose."""
        promised_s = PROMISED_S.get(job.message.queue_name)
        if promised_s is None or job.attempt > 1 or job.waited_s is None:
            return
        STARTS.add(job.message.queue_name, "yes" if job.waited_s <= promised_s else "no")
